package kafkabridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"millrace/platform/errs"
)

// expiryCheck is how often failover looks for nodes whose lease has expired.
const expiryCheck = 500 * time.Millisecond

// failover removes the members of expired nodes from their consumer groups. The brokers keep
// a member for Session, and allow no shorter one than 6 s unless they are configured
// otherwise; a lease in the database is shorter. A node that is only slow, or cut off from the
// database, learns with its next heartbeat that it is no member any more, and joins again:
// once for each time that its lease expires.
type failover struct {
	admin   *topicAdmin
	log     *slog.Logger
	groups  []string // of the hosted modules
	expired func(ctx context.Context) ([]uuid.UUID, error)
}

// run removes members until ctx ends.
func (f *failover) run(ctx context.Context) {
	tick := time.NewTicker(expiryCheck)
	defer tick.Stop()
	var done []uuid.UUID
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		expired, err := f.expired(ctx)
		if err != nil {
			continue // without the database this node loses its own lease, which is logged
		}
		done = slices.DeleteFunc(done, func(id uuid.UUID) bool { return !slices.Contains(expired, id) })
		for _, node := range expired {
			if slices.Contains(done, node) {
				continue
			}
			if err := f.removeMembers(node); err != nil {
				f.log.Warn("members of an expired node not removed from their consumer groups", "node", node.String(), "error", err.Error())
				continue
			}
			done = append(done, node)
		}
	}
}

// removeMembers removes a node's members from the groups. The brokers rebalance, and the
// other members get its partitions.
func (f *failover) removeMembers(node uuid.UUID) error {
	if len(f.groups) == 0 {
		return nil
	}
	answers, err := f.admin.DescribeConsumerGroups(f.groups)
	if err != nil {
		return fmt.Errorf("describe consumer groups: %w", err)
	}
	var failures []error
	for _, group := range answers {
		err := f.removeFrom(group, clientIDOf(node))
		if err != nil { // perhaps the coordinator has moved: look for it before the next try
			failures = append(failures, errs.New(errs.Resource, "group %s: %w", group.GroupId, err), f.admin.client.RefreshCoordinator(group.GroupId))
		}
	}
	return errors.Join(failures...)
}

func (f *failover) removeFrom(group *sarama.GroupDescription, clientID string) error {
	if group.Err != sarama.ErrNoError {
		return group.Err
	}
	request := &sarama.LeaveGroupRequest{Version: 3, GroupId: group.GroupId}
	for id, member := range group.Members {
		if member.ClientId == clientID {
			request.Members = append(request.Members, sarama.MemberIdentity{MemberId: id})
		}
	}
	if len(request.Members) == 0 {
		return nil
	}
	coordinator, err := f.admin.client.Coordinator(group.GroupId)
	if err != nil {
		return err
	}
	answer, err := coordinator.LeaveGroup(request)
	if err != nil {
		return err
	}
	if answer.Err != sarama.ErrNoError {
		return answer.Err
	}
	f.log.Warn("expired node removed from consumer group: rebalance", "group", group.GroupId, "client_id", clientID, "members", len(request.Members))
	return nil
}
