// Package compose checks the container files without a container engine: the compose
// file publishes ports on loopback only, images are pinned, and the program's image
// does not run as root.
package compose

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// services are the services of the compose file.
var services = []string{"kafka", "mail", "millrace", "postgres"}

// faultsOf returns everything that is wrong with a compose file.
func faultsOf(project *types.Project) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	names := project.ServiceNames()
	slices.Sort(names)
	if !slices.Equal(names, services) {
		fault("services are %v, not %v", names, services)
	}
	for name, s := range project.Services {
		for _, port := range s.Ports {
			if host, err := netip.ParseAddr(port.HostIP); err != nil || !host.IsLoopback() {
				fault("%s: port %d is published on %q, not on loopback", name, port.Target, port.HostIP)
			}
		}
		if s.NetworkMode != "" || s.Privileged {
			fault("%s: has the host's network or privileges", name)
		}
		if s.Build == nil && !pinned(s.Image) {
			fault("%s: image %q is not pinned to a version", name, s.Image)
		}
		if s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) == 0 {
			fault("%s: no health check", name)
		}
		for dependency, how := range s.DependsOn {
			if how.Condition != types.ServiceConditionHealthy {
				fault("%s: does not wait until %s is healthy", name, dependency)
			}
		}
		if len(s.Volumes) == 0 {
			fault("%s: loses its data when its container is replaced", name)
		}
		for _, volume := range s.Volumes {
			if _, named := project.Volumes[volume.Source]; volume.Type != types.VolumeTypeVolume || !named {
				fault("%s: %s is not a named volume", name, volume.Target)
			}
		}
	}
	program, ok := project.Services["millrace"]
	if !ok {
		return faults
	}
	if program.HealthCheck != nil && !strings.Contains(strings.Join(program.HealthCheck.Test, " "), "/readyz") {
		fault("millrace: the health check does not ask /readyz")
	}
	if kafka, ok := project.Services["kafka"]; !ok || !slices.Equal(kafka.Profiles, []string{"kafka"}) {
		fault("kafka: starts without its profile")
	} else if own := kafka.Environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]; own == nil || *own != "false" {
		fault("kafka: creates a topic for every misspelt name")
	}
	if allowed := project.Services["mail"].Environment["MP_ALLOWED_HOSTS"]; allowed == nil || *allowed != "localhost" {
		fault("mail: answers under any host name, so a page of another site can read the mails")
	}
	for _, dependency := range []string{"mail", "postgres"} {
		if _, waits := program.DependsOn[dependency]; !waits {
			fault("millrace: does not wait for %s", dependency)
		}
	}
	if program.Build == nil || program.Build.Args["COMMIT"] == nil {
		fault("millrace: the build is not given the commit")
	}
	if program.User == "0" || strings.HasPrefix(program.User, "0:") || program.User == "root" {
		fault("millrace: runs as root")
	}
	if program.StopGracePeriod == nil || time.Duration(*program.StopGracePeriod) < 25*time.Second {
		fault("millrace: is killed before it can finish what is in flight")
	}
	return faults
}

var (
	version = regexp.MustCompile(`:v?\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$`)
	numeric = regexp.MustCompile(`^[1-9]\d*(:[1-9]\d*)?$`)
)

// pinned reports whether an image's name has an exact version or a digest.
func pinned(image string) bool { return version.MatchString(image) }

// faultsOfDockerfile returns everything that is wrong with the program's Dockerfile.
func faultsOfDockerfile(text string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	var stages []string
	user, commit := "", false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch strings.ToUpper(words[0]) {
		case "FROM":
			if !pinned(words[1]) && !slices.Contains(stages, words[1]) {
				fault("image %q is not pinned to a version", words[1])
			}
			if len(words) == 4 {
				stages = append(stages, words[3])
			}
			user = ""
		case "USER":
			user = words[1]
		case "ARG":
			commit = commit || strings.HasPrefix(words[1], "COMMIT=")
		case "RUN":
			if strings.Contains(line, "go build") && (!commit || !strings.Contains(line, "-X main.commit=${COMMIT}")) {
				fault("the program is built without its commit: ARG COMMIT, then -ldflags \"-X main.commit=${COMMIT}\"")
			}
		}
	}
	if !numeric.MatchString(user) {
		fault("the last stage's user is %q; a number that is not 0 is wanted", user)
	}
	if len(stages) == 0 {
		fault("the compiler is in the image that runs")
	}
	return faults
}
