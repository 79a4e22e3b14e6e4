package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyJoinedErrorsAreSeveral(t *testing.T) {
	t.Parallel()
	one, two := errors.New("one"), errors.New("two")
	for want, err := range map[string]error{
		"millrace: one\n":          errors.Join(one, nil),
		"millrace: a\nb\n":         errors.New("a\nb"),
		"millrace: one, for two\n": fmt.Errorf("%w, for %w", one, two),
		"millrace: 2 things are wrong:\n  - one\n  - two\n":      errors.Join(errors.Join(one, two)),
		"millrace: 2 things are wrong:\n  - one\n  - a\n    b\n": errors.Join(one, errors.New("a\nb")),
		"millrace: no file: one\ntwo\n":                          fmt.Errorf("no file: %w", errors.Join(one, two)),
	} {
		var told bytes.Buffer
		require.Equal(t, exitFailed, tell(&told, err))
		require.Equal(t, want, told.String())
	}
}
