package kafkabridge

import (
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/errs"
)

// stallDetector finds partitions whose records a consumer does not receive, although the
// consumer seems healthy.
type stallDetector struct {
	admin    *topicAdmin
	limit    time.Duration
	progress map[consumed]progress
}

// consumed is a partition as a module's consumer reads it.
type consumed struct {
	module string
	topicPartition
}

// progress is what is known of a partition's committed offset.
type progress struct {
	committed int64
	since     time.Time // since then there are unread records, and committed has not moved
	checked   int64     // everything below was read directly
	stalled   bool      // and there were records
}

func newStallDetector(admin *topicAdmin) *stallDetector {
	return &stallDetector{admin: admin, limit: admin.cfg.Stall, progress: map[consumed]progress{}}
}

// check reports whether a partition has had unread records for longer than the limit. Then it
// has read them directly, so that they do not wait for the consumer's restart.
func (d *stallDetector) check(c *consumer, p topicPartition, committed int64) (stalled bool, err error) {
	newest, err := d.admin.offset(p, sarama.OffsetNewest)
	if err != nil {
		return false, err
	}
	key := consumed{c.module, p}
	known := d.progress[key]
	if known.since.IsZero() || known.committed != committed {
		known = progress{committed: committed, since: time.Now(), checked: known.checked, stalled: known.stalled && committed < known.checked}
	}
	defer func() { d.progress[key] = known }()
	if c.health.isFailing() { // the whole consumer fails, and its error is reported
		known.since = time.Now()
		return false, nil
	}
	if newest <= max(committed, known.checked) {
		known.since = time.Now() // nothing is unread: a record that comes after an hour has not waited for an hour
	}
	if time.Since(known.since) < d.limit {
		if !known.stalled {
			c.health.move(p)
		}
		return false, nil
	}
	oldest, err := d.admin.offset(p, sarama.OffsetOldest)
	if err != nil {
		return false, err
	}
	from := max(committed, oldest, known.checked)
	if from >= newest { // the unread records were deleted
		known.checked, known.stalled = newest, false
		c.health.move(p)
		return false, nil
	}
	found, err := c.readDirectly(p, from, newest)
	if err != nil {
		c.health.stall(p, err)
		return true, nil
	}
	known.since, known.checked, known.stalled = time.Now(), newest, found > 0
	if found == 0 { // the markers of transactions, which are no messages
		c.health.move(p)
		return false, nil
	}
	c.health.stall(p, errs.New(errs.Resource, "%d records from offset %d on were unread for %s; they were read directly, and the consumer is restarted", found, from, d.limit))
	c.log.Error("consumer stalled: unread records were read directly, and the consumer is restarted",
		"topic", c.cfg.Prefix+p.topic, "partition", p.partition, "committed", committed, "newest", newest, "lag", newest-max(committed, 0), "records", found)
	return true, nil
}
