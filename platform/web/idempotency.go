package web

// ScopedKey returns a client's Idempotency-Key as stored: with its operation
// and principal. So the same key of two principals, or for two operations, does
// not collide. A header cannot contain line breaks, so no client's key equals
// another scope's key. An empty key stays empty.
//
// There is no sign-in yet: the principal is the one that the request names.
func ScopedKey(operation, principal, key string) string {
	if key == "" {
		return ""
	}
	return operation + " " + principal + "\n" + key
}
