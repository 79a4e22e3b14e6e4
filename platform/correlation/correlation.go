// Package correlation carries a correlation ID in a context: the ID that a request, the
// messages that follow from it, outbound calls and log lines have in common.
package correlation

import "context"

type key struct{}

// With returns a context that carries the ID.
func With(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// From returns the ID that ctx carries, or "".
func From(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}
