package model

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// step is one step of a program. Do determines which fields are used.
type step struct {
	Do    string
	Txs   []transaction // for publish and publishAndCut
	Which int           // index of a process or a dead letter
	Flag  bool          // fix before the retry; use a real process; shop or till
}

type transaction struct {
	Back     bool // it rolls back
	Messages []planned
}

// planned is a message to publish, and how its handler fails at each subscriber.
type planned struct {
	Kind        string
	Key         int
	Store, Late failing
}

// failing is how often a handler fails, and how. Times is -1 for always.
type failing struct {
	Times int
	Way   string
}

func (f failing) String() string {
	if f.Times == 0 {
		return "well"
	}
	return fmt.Sprintf("%d×%s", f.Times, f.Way)
}

func (m planned) String() string {
	return fmt.Sprintf("%s %s (store %s, late %s)", m.Kind, keys[m.Key], m.Store, m.Late)
}

func (s step) String() string {
	var txs []string
	for _, tx := range s.Txs {
		txs = append(txs, fmt.Sprintf("{back %v: %v}", tx.Back, tx.Messages))
	}
	return fmt.Sprintf("%s which=%d flag=%v %s", s.Do, s.Which, s.Flag, strings.Join(txs, " "))
}

var failings = rapid.Custom(func(t *rapid.T) failing {
	if rapid.IntRange(0, 3).Draw(t, "fails") > 0 {
		return failing{}
	}
	f := failing{rapid.SampledFrom([]int{1, 2, 3, -1, -1}).Draw(t, "times"), rapid.SampledFrom([]string{"error", "error", "panic", "invalid", "contention"}).Draw(t, "way")}
	if f.Way == "invalid" { // dead at once
		f.Times = -1
	}
	if f.Way == "contention" && f.Times < 0 { // contention is retried immediately, more often than three times
		f.Times = 3
	}
	return f
})

// aTransaction generates a transaction with two keys that no other transaction of
// its step uses, so that the order per key is known even if the transactions of
// the step commit concurrently.
func aTransaction(place int) *rapid.Generator[transaction] {
	return rapid.Custom(func(t *rapid.T) transaction {
		// Events of till are published by another module, so they need their own transaction.
		kinds := rapid.SampledFrom([][]string{{"paid", "paid", "noted", "pack"}, {"paid", "noted"}, {"rung"}}).Draw(t, "kinds")
		messages := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) planned {
			return planned{rapid.SampledFrom(kinds).Draw(t, "kind"), (place + 3*rapid.IntRange(0, 1).Draw(t, "key")) % len(keys), failings.Draw(t, "store"), failings.Draw(t, "late")}
		}), 1, 5).Draw(t, "words")
		return transaction{rapid.IntRange(0, 4).Draw(t, "back") == 0, messages}
	})
}

var steps = rapid.Custom(func(t *rapid.T) step {
	s := step{Do: rapid.SampledFrom([]string{
		"publish", "publish", "publish", "publish", "publish", "publish", "publish",
		"publishAndCut", "cut", "cut", "kill", "hang", "begin", "end",
		"retry", "retry", "retry", "discard", "discard",
		"late", "addType", "repeat", "repeat", "settle",
	}).Draw(t, "do")}
	switch s.Do {
	case "publish", "publishAndCut":
		for place := range rapid.IntRange(1, 3).Draw(t, "transactions") {
			s.Txs = append(s.Txs, aTransaction(place).Draw(t, "tx"))
		}
	default:
		s.Which, s.Flag = rapid.IntRange(0, 5).Draw(t, "which"), rapid.Bool().Draw(t, "flag")
	}
	return s
})

var programs = rapid.SliceOfN(steps, 4, 24)
