package config

import (
	"net/url"
	"slices"
	"strings"

	"millrace/platform/loopback"
)

// Proxy is the reverse proxy in front of split processes: a process that hosts
// no module and forwards each request to the module that has its operation.
type Proxy struct {
	Modules []string `yaml:"modules"` // where each module listens, such as payment=http://127.0.0.1:8081
	// InsecurePlainHTTP lets production reach modules on other machines by
	// http. WARNING: anybody on the network path can read and change orders and
	// addresses.
	InsecurePlainHTTP bool `yaml:"insecure_plain_http"`
}

// Targets returns the URLs by module, without those that Validate rejects.
func (p Proxy) Targets() map[string]*url.URL {
	all := map[string]*url.URL{}
	for _, item := range p.Modules {
		name, address, _ := strings.Cut(item, "=")
		if target, err := url.Parse(address); err == nil && isHTTP(address) {
			all[name] = target
		}
	}
	return all
}

// plainHTTP rejects unencrypted connections to modules, unless the operator
// declares the network private, as between the pods of a cluster.
func (f *faults) plainHTTP(c Proxy) {
	if c.InsecurePlainHTTP {
		return
	}
	for _, item := range c.Modules {
		name, address, _ := strings.Cut(item, "=")
		if target, err := url.Parse(address); err == nil && target.Scheme == "http" && !loopback.Host(target.Hostname()) {
			f.add("proxy.modules", "%s is reached by http on another machine, where others on the way can read and change what is sent: use https, "+
				"or set proxy.insecure_plain_http to true if the network is private or encrypts by itself (as a service mesh does)", name)
		}
	}
}

func (f *faults) proxy(c Proxy, modules []string) {
	seen := map[string]bool{}
	for _, item := range c.Modules {
		name, address, named := strings.Cut(item, "=")
		target, err := url.Parse(address)
		switch {
		case !named || strings.Contains(name, ":"):
			f.add("proxy.modules", "an item is not name=address, as payment=http://127.0.0.1:8081")
		case !slices.Contains(modules, name):
			f.add("proxy.modules", "there is no module %q; there are %s, each as payment=http://127.0.0.1:8081", name, strings.Join(modules, ", "))
		case seen[name]:
			f.add("proxy.modules", "%s is listed twice", name)
		case err != nil || !isHTTP(address) || strings.Trim(target.Path, "/") != "" || target.RawQuery+target.Fragment != "" || target.User != nil ||
			strings.HasSuffix(target.Host, ":") || target.Port() != "" && !isPort(target.Port(), 1):
			f.add("proxy.modules", "the address of %s is not http://host:port or https://host:port, and nothing more", name)
		}
		seen[name] = true
	}
}
