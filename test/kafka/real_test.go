//go:build kafka || cloudevents

package kafka

func shortSessions() map[string]string {
	return map[string]string{"group.min.session.timeout.ms": "1000"}
}
