package bustest_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/errs"
	"millrace/platform/module"
)

type ordered struct {
	Order  string `json:"order"`
	Bad    bool   `json:"bad,omitempty"`
	Pieces int    `json:"pieces,omitempty"`
}

func (ordered) EventName() string { return "shop.ordered" }
func (o ordered) Key() string     { return o.Order }
func (o ordered) Validate() error {
	if o.Pieces < 0 {
		return errors.New("pieces: must be 0 or more")
	}
	return nil
}

type packed struct {
	Order string `json:"order"`
	Box   int    `json:"box"`
}

func (packed) EventName() string { return "store.packed" }
func (p packed) Key() string     { return p.Order }

type bill struct {
	Order string `json:"order"`
}

func (bill) CommandName() string { return "shop.bill" }
func (b bill) Key() string       { return b.Order }

type store struct {
	module.Base
	db *bus.DB
}

func (store) Name() string           { return "store" }
func (store) Publishes() []bus.Event { return []bus.Event{packed{}} }
func (store) Sends() []bus.Command   { return []bus.Command{bill{}} }
func (store) Migrations() fs.FS {
	return fstest.MapFS{"00001_store.sql": {Data: []byte("-- +goose Up\nCREATE TABLE boxes (id bigint GENERATED ALWAYS AS IDENTITY, order_key text);\n")}}
}

func (store) Subscriptions() []bus.Subscription {
	return []bus.Subscription{bus.On(func(ctx context.Context, tx *bus.Tx, o ordered) error {
		var box int
		if err := tx.QueryRowContext(ctx, `INSERT INTO boxes (order_key) VALUES ($1) RETURNING id`, o.Order).Scan(&box); err != nil {
			return err
		}
		if err := tx.Publish(packed{o.Order, box}); err != nil {
			return err
		}
		if o.Bad {
			return errs.New(errs.Invalid, "nobody packs that")
		}
		return tx.Send(bill{o.Order})
	})}
}

func TestHarness_TestsOneModuleAlone(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t, func(db *bus.DB) bustest.Module { return store{db: db} })
	s.When(ordered{Order: "a"})
	s.Then(packed{Order: "a", Box: 1}, bill{Order: "a"})
	s.ThenAgainNothing()
	s.ThenRow(`SELECT count(*), min(order_key) FROM boxes`, 1, "a")

	s.When(ordered{Order: "b", Bad: true})
	s.ThenNothing() // the writes and messages of a failed handler are rolled back
	s.ThenRow(`SELECT count(*) FROM boxes`, 1)
	require.Equal(t, []string{"shop.ordered b: nobody packs that"}, s.DeadLetters())
}

func TestOn_AMessageThatItsTypeRefusesReachesNoHandler(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t, func(db *bus.DB) bustest.Module { return store{db: db} })
	s.When(ordered{Order: "a", Pieces: -1}, ordered{Order: "b"})
	s.Then(packed{Order: "b", Box: 1}, bill{Order: "b"})
	s.ThenRow(`SELECT count(*) FROM boxes`, 1)
	s.ThenRow(`SELECT kind, attempts FROM parked_messages`, "invalid", 1) // dead at once
	dead := s.DeadLetters()
	require.Len(t, dead, 1)
	require.Contains(t, dead[0], "shop.ordered a: shop.ordered ")
	require.Contains(t, dead[0], "pieces: must be 0 or more")
}
