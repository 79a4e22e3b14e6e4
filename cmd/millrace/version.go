package main

import "runtime/debug"

// release is the version in CHANGELOG.md that this source will be, or is.
const release = "0.1.0"

// commit is what the program was built from, if the build had no repository to
// look at, as in the container image: -ldflags "-X main.commit=…". An empty one
// is unknown.
var commit string

// version returns release and commit in the form of Semantic Versioning, such as
// 0.1.0+1c20958f0b7e.
func version() string {
	if c := builtFrom(); c != "" {
		return release + "+" + c
	}
	return release
}

// builtFrom returns the commit's first 12 characters, with "-modified" if the
// sources had changes; "" if it is unknown. The go command notes both when it
// builds in a repository.
func builtFrom() string {
	if commit != "" {
		return short(commit)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	found := short(settings["vcs.revision"])
	if found != "" && settings["vcs.modified"] == "true" {
		found += "-modified"
	}
	return found
}

func short(commit string) string { return commit[:min(len(commit), 12)] }
