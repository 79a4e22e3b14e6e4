package config

import (
	"net/url"
	"slices"
	"strings"
)

// Front is the front door: a process that hosts no module and sends each
// request to the module whose it is.
type Front struct {
	Modules []string `koanf:"modules"` // where each module is, as payment=http://127.0.0.1:8081
}

// Targets are the addresses by module. What Validate refuses is not among them.
func (f Front) Targets() map[string]*url.URL {
	all := map[string]*url.URL{}
	for _, item := range f.Modules {
		name, address, _ := strings.Cut(item, "=")
		if target, err := url.Parse(address); err == nil && isHTTP(address) {
			all[name] = target
		}
	}
	return all
}

func (f *faults) front(c Front, modules []string) {
	seen := map[string]bool{}
	for _, item := range c.Modules {
		name, address, _ := strings.Cut(item, "=")
		target, err := url.Parse(address)
		switch {
		case !slices.Contains(modules, name):
			f.add("front.modules", "there is no module %q; there are %s, each as payment=http://127.0.0.1:8081", name, strings.Join(modules, ", "))
		case seen[name]:
			f.add("front.modules", "%s is listed twice", name)
		case err != nil || !isHTTP(address) || strings.Trim(target.Path, "/") != "" || target.RawQuery != "" || target.User != nil:
			f.add("front.modules", "the address of %s is not http://host:port or https://host:port, and nothing more", name)
		}
		seen[name] = true
	}
}
