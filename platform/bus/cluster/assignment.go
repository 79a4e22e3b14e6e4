package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"strings"

	"github.com/google/uuid"

	"millrace/platform/bus/store"
	"millrace/platform/failpoint"
)

// work is a member's part in a topic: what nodes share.
type work struct{ member, topic string }

// alive lists, for each work, the nodes that are alive and do it.
func (l *Lease) alive(ctx context.Context) (map[work]map[uuid.UUID]bool, error) {
	rows, err := l.DB.QueryContext(ctx, `
		SELECT id, coalesce(subscription, '') FROM nodes LEFT JOIN LATERAL unnest(subscriptions) AS subscription ON true
		WHERE `+store.Living)
	if err != nil {
		return nil, fmt.Errorf("read the leases: %w", err)
	}
	defer rows.Close()
	nodes := map[work]map[uuid.UUID]bool{}
	others := false
	for rows.Next() {
		var node uuid.UUID
		var subscription string
		if err := rows.Scan(&node, &subscription); err != nil {
			return nil, fmt.Errorf("read the leases: %w", err)
		}
		others = others || node != l.Node
		member, messageType, _ := strings.Cut(subscription, "/")
		w := work{member, l.TopicOf(messageType)}
		if w.topic == "" {
			w.topic = messageType // a relay subscribes to topics
		}
		if nodes[w] == nil {
			nodes[w] = map[uuid.UUID]bool{}
		}
		nodes[w][node] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the leases: %w", err)
	}
	l.Others(others)
	return nodes, nil
}

// balance makes what the member believes agree with the database. Then it claims free
// partitions of each stream up to this node's share, or releases those above it.
func (l *Lease) balance(ctx context.Context, m Member, alive map[work]map[uuid.UUID]bool) error {
	if err := l.reconcile(ctx, m); err != nil {
		return err
	}
	for _, stream := range m.Streams() {
		nodes := max(len(alive[work{m.Name(), store.TopicOf(stream)}]), 1)
		share := (store.Partitions + nodes - 1) / nodes
		assigned, releasing := m.Assigned(stream)
		mine := assigned &^ releasing
		for bits.OnesCount64(mine) > share {
			last := bits.Len64(mine) - 1
			m.Release(stream, last)
			mine &^= 1 << last
		}
		if free := share - bits.OnesCount64(mine); free > 0 {
			if err := l.claim(ctx, m, stream, free); err != nil {
				return err
			}
		}
	}
	return nil
}

// reconcile asks the database which partitions are assigned to this node. The member may
// be wrong: the reply to a claim was lost, other nodes took over while this process was
// stopped, or a partition was released in the moment in which it was claimed again. A
// partition without messages that is wrongly believed to be assigned would count towards
// the share permanently, and a free one would have no node.
func (l *Lease) reconcile(ctx context.Context, m Member) error {
	rows, err := l.DB.QueryContext(ctx, `SELECT topic, partition FROM `+m.Offsets()+` WHERE subscriber = $1 AND node = $2`, m.Name(), l.Node)
	if err != nil {
		return fmt.Errorf("read the partitions of %s: %w", m.Name(), err)
	}
	owned, err := scanPartitions(rows)
	if err != nil {
		return fmt.Errorf("read the partitions of %s: %w", m.Name(), err)
	}
	for _, stream := range m.Streams() {
		assigned, _ := m.Assigned(stream)
		for p := range store.Partitions {
			switch bit := uint64(1) << p; {
			case assigned&bit != 0 && owned[stream]&bit == 0:
				m.Lost(stream, p)
			case assigned&bit == 0 && owned[stream]&bit != 0:
				m.Assign(stream, p)
			}
		}
	}
	return nil
}

// claim takes up to limit partitions of a stream that no node alive has. A node that is
// alive but no longer works for the member, since it shuts down, has none.
func (l *Lease) claim(ctx context.Context, m Member, stream string, limit int) error {
	rows, err := l.DB.QueryContext(ctx, `
		WITH free AS (
			SELECT topic, partition FROM `+m.Offsets()+` p
			WHERE subscriber = $1 AND topic = $4 AND (node IS NULL OR node <> $2 AND NOT EXISTS (
				SELECT 1 FROM nodes l WHERE l.id = p.node AND `+store.Living+` AND p.subscriber = ANY(l.modules)))
			LIMIT $3 FOR UPDATE SKIP LOCKED)
		UPDATE `+m.Offsets()+` p SET node = $2 FROM free
		WHERE p.subscriber = $1 AND p.topic = free.topic AND p.partition = free.partition
		RETURNING p.topic, p.partition`, m.Name(), l.Node, limit, stream)
	if err != nil {
		return fmt.Errorf("claim partitions of %s: %w", m.Name(), err)
	}
	claimed, err := scanPartitions(rows)
	if err != nil {
		return fmt.Errorf("claim partitions of %s: %w", m.Name(), err) // reconcile finds out what was claimed
	}
	failpoint.Here("lease.claimed")
	for p := range store.Partitions {
		if claimed[stream]&(1<<p) != 0 {
			m.Assign(stream, p)
		}
	}
	return nil
}

// scanPartitions reads rows of a topic and a partition, as bits for each topic.
func scanPartitions(rows *sql.Rows) (map[string]uint64, error) {
	defer rows.Close()
	found := map[string]uint64{}
	for rows.Next() {
		var topic string
		var partition int
		if err := rows.Scan(&topic, &partition); err != nil {
			return nil, err
		}
		found[topic] |= 1 << partition
	}
	return found, rows.Err()
}
