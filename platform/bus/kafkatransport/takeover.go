package kafkatransport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"millrace/platform/errs"
)

// How often it is asked whether a process is gone.
const goneEvery = 500 * time.Millisecond

// memberOf is what a process's members call themselves at the brokers.
func memberOf(process uuid.UUID) string { return "millrace-" + process.String() }

// takeOver makes the members of processes that are gone leave their groups, until
// ctx ends. The brokers believe in a member for Session, and they allow no
// shorter one than 6 s unless they are told otherwise; a lease in the database is
// shorter. Who is only late, or cut off from the database, learns with its next
// heartbeat that it is no member any more, and joins again: once for each time
// that its lease ran out.
func (t *Transport) takeOver(ctx context.Context) {
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	var done []uuid.UUID
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		gone, err := t.Expired(ctx)
		if err != nil {
			continue // whoever cannot read it has lost his own lease, which others say
		}
		done = slices.DeleteFunc(done, func(id uuid.UUID) bool { return !slices.Contains(gone, id) })
		for _, id := range gone {
			if slices.Contains(done, id) {
				continue
			}
			if err := t.evict(memberOf(id)); err != nil {
				t.cfg.Logger.Warn("a process is gone, and its members stay until they are made to leave, or their session ends", "process", id.String(), "error", err.Error())
				continue
			}
			done = append(done, id)
		}
	}
}

// evict ends a process's memberships in the groups of the hosted modules.
func (t *Transport) evict(client string) error {
	groups := make([]string, len(t.intakes))
	for i, in := range t.intakes {
		groups[i] = in.group()
	}
	if len(groups) == 0 {
		return nil
	}
	answers, err := t.admin.DescribeConsumerGroups(groups)
	if err != nil {
		return fmt.Errorf("describe the groups: %w", err)
	}
	var failures []error
	for _, group := range answers {
		if group.Err != sarama.ErrNoError { // its coordinator has moved, perhaps: ask who it is for the next try
			failures = append(failures, errs.New(errs.Resource, "group %s: %w", group.GroupId, group.Err), t.admin.client.RefreshCoordinator(group.GroupId))
			continue
		}
		request := &sarama.LeaveGroupRequest{Version: 3, GroupId: group.GroupId}
		for id, member := range group.Members {
			if member.ClientId == client {
				request.Members = append(request.Members, sarama.MemberIdentity{MemberId: id})
			}
		}
		if len(request.Members) == 0 {
			continue
		}
		coordinator, err := t.admin.client.Coordinator(group.GroupId)
		if err != nil {
			failures = append(failures, errs.New(errs.Resource, "group %s: %w", group.GroupId, err))
			continue
		}
		answer, err := coordinator.LeaveGroup(request)
		if err == nil && answer.Err != sarama.ErrNoError {
			err = answer.Err
		}
		if err != nil {
			failures = append(failures, errs.New(errs.Resource, "group %s: %w", group.GroupId, err), t.admin.client.RefreshCoordinator(group.GroupId))
			continue
		}
		t.cfg.Logger.Warn("the partitions of a process that is gone are shared among the others", "group", group.GroupId, "process", client)
	}
	return errors.Join(failures...)
}
