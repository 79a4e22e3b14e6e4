package errs_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestKind_HasStatusAndReaction(t *testing.T) {
	t.Parallel()
	type row struct {
		name     string
		status   int
		reaction errs.Reaction
	}
	want := map[errs.Kind]row{
		errs.Unknown:      {"unknown", 500, errs.Retry},
		errs.Invalid:      {"invalid", 422, errs.Dead},
		errs.Unauthorized: {"unauthorized", 401, errs.Dead},
		errs.Forbidden:    {"forbidden", 403, errs.Dead},
		errs.NotFound:     {"not found", 404, errs.Dead},
		errs.Conflict:     {"conflict", 409, errs.Dead},
		errs.TooLarge:     {"too large", 413, errs.Dead},
		errs.Undecodable:  {"undecodable", 400, errs.Dead},
		errs.Contention:   {"contention", 503, errs.Again},
		errs.Resource:     {"resource", 503, errs.Pause},
		errs.Timeout:      {"timeout", 504, errs.Retry},
		errs.Shutdown:     {"shutdown", 503, errs.Leave},
		errs.Stale:        {"stale", 412, errs.Dead},
	}
	require.Len(t, errs.Kinds(), len(want), "a kind without a row here")
	for _, kind := range errs.Kinds() {
		got := row{kind.String(), kind.HTTPStatus(), kind.Reaction()}
		require.Equal(t, want[kind], got)
	}
}

func TestOfSQLState_ReturnsKind(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]errs.Kind{
		"08000": errs.Resource, "08006": errs.Resource, "08P01": errs.Resource,
		"22001": errs.Invalid, "22012": errs.Invalid, "22P02": errs.Invalid, "2200H": errs.Resource,
		"25006": errs.Resource, "25P02": errs.Unknown, "25P03": errs.Timeout, "25P04": errs.Timeout,
		"28000": errs.Resource, "28P01": errs.Resource, "3D000": errs.Resource, "3F000": errs.Resource,
		"40001": errs.Contention, "40P01": errs.Contention, "40002": errs.Unknown, "40003": errs.Resource,
		"42501": errs.Resource, "42P01": errs.Resource, "42703": errs.Resource, "42883": errs.Resource, "42704": errs.Resource, "42P10": errs.Resource,
		"53000": errs.Resource, "53100": errs.Resource, "53200": errs.Resource, "53300": errs.Resource, "53400": errs.Resource,
		"54000": errs.TooLarge, "54001": errs.Unknown, "55P03": errs.Resource, "55006": errs.Resource, "55000": errs.Resource, "55P02": errs.Unknown,
		"57014": errs.Timeout, "57P01": errs.Resource, "57P02": errs.Resource, "57P03": errs.Resource, "57P04": errs.Resource, "57P05": errs.Resource, "57000": errs.Resource,
		"58000": errs.Resource, "58030": errs.Resource, "58P01": errs.Resource, "F0000": errs.Resource,
		"0A000": errs.Contention, "26000": errs.Contention, "XX001": errs.Resource, "XX002": errs.Resource,
		"42601": errs.Unknown, "42804": errs.Unknown, "P0001": errs.Unknown, "XX000": errs.Unknown, "00000": errs.Unknown, "": errs.Unknown, "4": errs.Unknown,
	} {
		require.Equal(t, want, errs.OfSQLState(code), code)
		require.Equal(t, want, errs.KindOf(fmt.Errorf("wrapped: %w", &pq.Error{Code: pq.ErrorCode(code)})), code)
	}
}

func TestOfSQLState_OnlyUniqueViolationsAreRetried(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"23000", "23001", "23502", "23503", "23514", "23P01", "23999"} {
		kind := errs.OfSQLState(code)
		require.Equal(t, errs.Conflict, kind, code)
		require.Equal(t, errs.Dead, kind.Reaction(), code)
	}
	// Modules already classify violations by keys that callers choose.
	kind := errs.OfSQLState("23505")
	require.Equal(t, 500, kind.HTTPStatus())
	require.Equal(t, errs.Retry, kind.Reaction(), "the next generated ID may not collide")
}

func TestOfSQLState_EnvironmentFaultsPause(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"08006", "2200H", "25006", "28P01", "3D000", "3F000", "42501", "42P01", "42703", "42883", "53100", "53200", "53300",
		"55000", "55006", "55P03", "57P01", "57P04", "58030", "58P01", "XX001", "XX002",
	} {
		kind := errs.OfSQLState(code)
		require.Equal(t, errs.Pause, kind.Reaction(), code)
		require.Equal(t, 503, kind.HTTPStatus(), code)
	}
}

func TestLocked_ReportsEveryLockTimeout(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want bool
		kind errs.Kind
	}{
		{nil, false, errs.Unknown},
		{fmt.Errorf("claim: %w", &pq.Error{Code: "55P03", Message: "canceling statement due to lock timeout"}), true, errs.Resource},
		{&pq.Error{Code: "55P03", Message: "could not obtain lock on row in relation \"deliveries\""}, true, errs.Resource},
		{errs.New(errs.Resource, "%w: %w", errs.ErrLocked, context.DeadlineExceeded), true, errs.Resource},
		{&pq.Error{Code: "40P01", Message: "deadlock detected"}, false, errs.Contention},
		{&pq.Error{Code: "57014", Message: "canceling statement due to statement timeout"}, false, errs.Timeout},
		{context.DeadlineExceeded, false, errs.Timeout},
	} {
		require.Equal(t, row.want, errs.Locked(row.err), "%v", row.err)
		require.Equal(t, row.kind, errs.KindOf(row.err), "%v", row.err)
	}
}

func TestKindOf_QueryCancelledByOperatorIsResource(t *testing.T) {
	t.Parallel()
	require.Equal(t, errs.Resource, errs.KindOf(&pq.Error{Code: "57014", Message: "canceling statement due to user request"}))
	require.Equal(t, errs.Timeout, errs.KindOf(fmt.Errorf("%w: canceling statement due to user request", context.DeadlineExceeded)), "our own")
}

func TestHelp_NamesOperatorsAction(t *testing.T) {
	t.Parallel()
	for code, part := range map[string]string{"23505": "setval(", "42501": "millrace migrate", "42P01": "millrace migrate", "42703": "millrace migrate", "53100": "disk", "XX002": "reindex"} {
		require.Contains(t, errs.Help(fmt.Errorf("wrapped: %w", &pq.Error{Code: pq.ErrorCode(code)})), part, code)
	}
	require.Empty(t, errs.Help(&pq.Error{Code: "55P03"}), "it passes by itself")
	require.Empty(t, errs.Help(errors.New("plain")))
	require.Empty(t, errs.Help(nil))
}

func TestKindOf_UnwrapsErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want errs.Kind
	}{
		{nil, errs.Unknown},
		{errors.New("plain"), errs.Unknown},
		{sql.ErrNoRows, errs.Unknown},
		{errs.New(errs.Invalid, "no"), errs.Invalid},
		{fmt.Errorf("around: %w", errs.New(errs.Invalid, "no")), errs.Invalid},
		{errs.New(errs.Conflict, "around: %w", errs.New(errs.Invalid, "no")), errs.Conflict},
		{errs.As(errs.Resource, &pq.Error{Code: "23505"}), errs.Resource},
		{errs.New(errs.Unknown, "around: %w", &pq.Error{Code: "40001"}), errs.Contention},
		{errors.Join(errors.New("plain"), errs.New(errs.TooLarge, "no")), errs.TooLarge},
		{context.Canceled, errs.Shutdown},
		{fmt.Errorf("around: %w", context.DeadlineExceeded), errs.Timeout},
		{driver.ErrBadConn, errs.Resource},
		{io.ErrUnexpectedEOF, errs.Resource},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, errs.Resource},
		{&net.OpError{Op: "dial", Err: errors.New("anything")}, errs.Resource},
		{syscall.ENOSPC, errs.Resource},
	} {
		require.Equal(t, row.want, errs.KindOf(row.err), "%v", row.err)
	}
	require.NoError(t, errs.As(errs.Invalid, nil))
}

func TestFieldOf_ReturnsInvalidField(t *testing.T) {
	t.Parallel()
	err := errs.InvalidField("line 17: currency", "is %q", "WON")
	require.EqualError(t, err, `line 17: currency: is "WON"`)
	require.Equal(t, "line 17: currency", errs.FieldOf(fmt.Errorf("import: %w", err)))
	require.Empty(t, errs.FieldOf(errors.New("plain")))
	open := func() (err error) {
		defer errs.Wrap(&err, "open %q", "x")
		return errs.New(errs.NotFound, "nothing there")
	}
	require.EqualError(t, open(), `open "x": nothing there`)
	require.Equal(t, errs.NotFound, errs.KindOf(open()))
}
