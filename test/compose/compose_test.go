package compose

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/platform/postgres/pgurl"
	"millrace/test/broker"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	require.NoError(t, err)
	return string(text)
}

// load reads a compose file like an engine: it validates it against the schema.
func load(t *testing.T, text string) *types.Project {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "../..",
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: []byte(text)}},
	}, loader.WithProfiles([]string{"*"}))
	require.NoError(t, err)
	return project
}

func TestComposeFile_PublishesOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	require.Empty(t, faultsOf(load(t, read(t, "docker-compose.yml"))))
}

func TestDockerfile_ImageDoesNotRunAsRoot(t *testing.T) {
	t.Parallel()
	require.Empty(t, faultsOfDockerfile(read(t, "Dockerfile")))
}

// Reads the environment in the compose file and the Dockerfile as the program does,
// which refuses unknown settings.
func TestComposeFile_EnvironmentIsValidConfiguration(t *testing.T) {
	t.Parallel()
	program := load(t, read(t, "docker-compose.yml")).Services["millrace"]
	var environment []string
	for name, value := range program.Environment {
		require.NotNil(t, value, name)
		environment = append(environment, name+"="+*value)
	}
	for line := range strings.Lines(read(t, "Dockerfile")) {
		if setting, ok := strings.CutPrefix(strings.TrimSpace(line), "ENV "); ok {
			environment = append(environment, setting)
		}
	}
	c, err := config.Load("", environment)
	require.NoError(t, err)
	require.NoError(t, c.Validate(nil))
	require.Equal(t, config.Development, c.Environment)
	require.True(t, c.HTTP.InsecureExposeWithoutLogin, "set explicitly")
	require.Empty(t, c.AllowedHosts(), "requests name this machine's own hosts only")
	require.Equal(t, "0.0.0.0:8080", c.HTTP.Address)
	require.EqualValues(t, 8080, program.Ports[0].Target)
	require.False(t, c.Embedded(), "the database is the container's")
	require.True(t, c.Simulator(), "the gateway is the simulator")
	require.False(t, c.DevInbox(), "the mail catcher is the container's")
	require.Equal(t, program.Volumes[0].Target, c.DataDir, "what it keeps is in the volume")
}

// A password with special characters must work for both containers. A URL would need
// them percent-encoded; PostgreSQL's own container takes them as they are.
func TestComposeFile_TakesAnyPasswordForPostgreSQL(t *testing.T) {
	t.Parallel()
	const password = "p@ss/w:rd#1?,%41 '"
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "../..",
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: []byte(read(t, "docker-compose.yml"))}},
		Environment: types.Mapping{"MILLRACE_POSTGRES_PASSWORD": password},
	})
	require.NoError(t, err)
	require.Equal(t, password, *project.Services["postgres"].Environment["POSTGRES_PASSWORD"])
	var environment []string
	for name, value := range project.Services["millrace"].Environment {
		environment = append(environment, name+"="+*value)
	}
	c, err := config.Load("", environment)
	require.NoError(t, err)
	u, err := pgurl.Parse(c.Database.URL.Reveal())
	require.NoError(t, err)
	require.Equal(t, password, u.Get("password"))
}

// The address in config/kafka.yaml must be the one that the broker publishes and
// advertises; so must the address inside the container network.
func TestComposeFile_KafkaPresetMatchesTheBroker(t *testing.T) {
	t.Parallel()
	project := load(t, read(t, "docker-compose.yml"))
	kafka := project.Services["kafka"]
	c, err := config.Load(filepath.Join("..", "..", "config", "kafka.yaml"), nil)
	require.NoError(t, err)
	require.Equal(t, config.OnKafka, c.Transport)
	require.Len(t, c.Kafka.Brokers, 1)
	advertised := *kafka.Environment["KAFKA_ADVERTISED_LISTENERS"]
	require.Contains(t, advertised, "HOST://"+c.Kafka.Brokers[0])
	require.Equal(t, c.Kafka.Brokers[0], net.JoinHostPort(kafka.Ports[0].HostIP, kafka.Ports[0].Published))
	require.Contains(t, advertised, "INSIDE://"+*project.Services["millrace"].Environment["MILLRACE_KAFKA_BROKERS"])
	require.Contains(t, *kafka.Environment["KAFKA_LISTENERS"], fmt.Sprintf("HOST://:%d", kafka.Ports[0].Target))
	require.Equal(t, "apache/kafka:"+broker.Version, kafka.Image, "the version that the tests run on")
	require.Equal(t, "/var/lib/kafka/data", kafka.Volumes[0].Target)
	require.Equal(t, kafka.Volumes[0].Target, *kafka.Environment["KAFKA_LOG_DIRS"], "what it keeps is in the volume")
}

// TestFaults_EachPlantedFaultIsFound plants a fault for each check.
func TestFaults_EachPlantedFaultIsFound(t *testing.T) {
	t.Parallel()
	good := read(t, "docker-compose.yml")
	for name, p := range map[string]struct{ old, new string }{
		"published everywhere":  {`"127.0.0.1:8080:8080"`, `"8080:8080"`},
		"published on a LAN":    {`"127.0.0.1:8025:8025"`, `"192.0.2.7:8025:8025"`},
		"the newest image":      {"postgres:17.6", "postgres:latest"},
		"no version":            {"axllent/mailpit:v1.31.1", "axllent/mailpit"},
		"mails for any name":    {"      MP_ALLOWED_HOSTS: localhost", "      # MP_ALLOWED_HOSTS: localhost"},
		"a folder of the host":  {"- mail:/data", "- ./mail:/data"},
		"the host's network":    {"    build:\n", "    network_mode: host\n    build:\n"},
		"root":                  {"    build:\n", "    user: \"0:0\"\n    build:\n"},
		"no commit":             {"        COMMIT: ${MILLRACE_COMMIT:-} # `make up` sets it\n", "        VERSION: \"1\"\n"},
		"health of what":        {"/readyz\"", "/\""},
		"no health check":       {"interval: 2s", "disable: true"},
		"not waiting":           {"condition: service_healthy", "condition: service_started"},
		"too little time":       {"stop_grace_period: 30s # it", "stop_grace_period: 10s # it"},
		"Kafka unasked":         {"    profiles: [kafka]\n", ""},
		"topics by mistake":     {"ENABLE: \"false\"", "ENABLE: \"true\""},
		"Kafka for everybody":   {"127.0.0.1:9092:9092", "9092:9092"},
		"a service is missing":  {"\n  mail:\n    image", "\n  post:\n    image"},
		"a further service too": {"services:\n", "services:\n  more:\n    image: alpine:3.22.2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(good, p.old, p.new, 1)
			require.False(t, good == bad, "the planted fault has a place")
			if name == "a service is missing" {
				bad = strings.Replace(bad, "      mail:\n", "      post:\n", 1)
			}
			if name == "the host's network" {
				bad = strings.Replace(bad, "    ports:\n      - \"127.0.0.1:8080:8080\"\n", "", 1)
			}
			require.NotEmpty(t, faultsOf(load(t, bad)))
		})
	}
	image := read(t, "Dockerfile")
	for name, p := range map[string]struct{ old, new string }{
		"root":             {"USER 65532:65532", "USER root"},
		"root's number":    {"USER 65532:65532", "USER 0"},
		"no user":          {"USER 65532:65532\n", ""},
		"a floating image": {"alpine:3.22.2", "alpine"},
		"one stage":        {" AS build", ""},
		"no commit":        {" -X main.commit=${COMMIT}", ""},
		"commit too late":  {"ARG COMMIT=\"\"\n", ""},
	} {
		t.Run("Dockerfile: "+name, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(image, p.old, p.new, 1)
			require.False(t, image == bad, "the planted fault has a place")
			require.NotEmpty(t, faultsOfDockerfile(bad))
		})
	}
}
