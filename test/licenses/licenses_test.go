package licenses_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write THIRD_PARTY_NOTICES.txt")

const notices = "../../THIRD_PARTY_NOTICES.txt"

func TestLinkedModules_HaveAllowedLicencesAndTheirNotices(t *testing.T) {
	t.Parallel()
	all := linked(t)
	require.Greater(t, len(all), 20)
	for _, m := range all {
		require.NoError(t, m.allowed(), "%s %s", m.path, m.version)
	}
	text := []byte(render(t, all))
	if *update {
		require.NoError(t, os.WriteFile(notices, text, 0o644)) //nolint:gosec // a public file
	}
	kept, err := os.ReadFile(notices)
	require.NoError(t, err)
	require.True(t, bytes.Equal(text, kept), "the program's modules, their versions or their licences have changed: look at `go test ./test/licenses -update && git diff THIRD_PARTY_NOTICES.txt`")
}

func TestImage_CarriesTheLicences(t *testing.T) {
	t.Parallel()
	image, err := os.ReadFile("../../Dockerfile")
	require.NoError(t, err)
	_, final, found := strings.Cut(string(image), "\nFROM alpine")
	require.True(t, found)
	require.Contains(t, final, "\nCOPY LICENSE THIRD_PARTY_NOTICES.txt /licenses/\n")
	context, err := os.ReadFile("../../.dockerignore")
	require.NoError(t, err)
	require.Contains(t, string(context), "\n!LICENSE\n!THIRD_PARTY_NOTICES.txt\n")
}

func TestLicenses_RefusesOthers(t *testing.T) {
	t.Parallel()
	const gplNotice = `This program is free software: you can redistribute it and/or modify
it under the terms of the GNU General Public License as published by
the Free Software Foundation, either version 3 of the License, or
(at your option) any later version.

This program is distributed in the hope that it will be useful,
but WITHOUT ANY WARRANTY; without even the implied warranty of
MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
GNU General Public License for more details.`
	permissive, err := os.ReadFile("../../LICENSE")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		files map[string]string
		fault string
	}{
		"GPL":              {map[string]string{"COPYING": gplNotice}, "GPL"},
		"GPL beside":       {map[string]string{"LICENSE": string(permissive), "sub/LICENSE": gplNotice}, "GPL"},
		"behind another":   {map[string]string{"LICENSE": string(permissive) + "\n" + gplNotice}, "GPL"},
		"unknown terms":    {map[string]string{"LICENSE": "You may use this on Tuesdays, but never after lunch, and only if you are called Bob."}, "is not known"},
		"none":             {map[string]string{}, "has no licence"},
		"a notice only":    {map[string]string{"NOTICE": "Made by somebody."}, "has no licence"},
		"an empty licence": {map[string]string{"LICENSE": ""}, "is not known"},
	} {
		m := module{path: "example.com/" + name, files: c.files}
		require.ErrorContains(t, m.allowed(), c.fault, name)
	}
	require.NoError(t, module{files: map[string]string{"LICENSE": string(permissive)}}.allowed())
}
