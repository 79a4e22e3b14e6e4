package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/terminal"
)

func TestPrintErrors_ListsOnlyJoinedErrors(t *testing.T) {
	t.Parallel()
	one, two := errors.New("one"), errors.New("two")
	for want, err := range map[string]error{
		"millrace: one\n":                                        errors.Join(one, nil),
		"millrace: a\n    b\n":                                   errors.New("a\nb"),
		"millrace: one, for two\n":                               fmt.Errorf("%w, for %w", one, two),
		"millrace: 2 things are wrong:\n  - one\n  - two\n":      errors.Join(errors.Join(one, two)),
		"millrace: 2 things are wrong:\n  - one\n  - a\n    b\n": errors.Join(one, errors.New("a\nb")),
		"millrace: no file: one\n    two\n":                      fmt.Errorf("no file: %w", errors.Join(one, two)),
	} {
		var printed bytes.Buffer
		require.Equal(t, exitFailed, printErrors(terminal.New(&printed), err))
		require.Equal(t, want, printed.String())
	}
}
