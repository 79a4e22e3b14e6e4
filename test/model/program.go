package model

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// step is one of a program. Which fields count depends on Do.
type step struct {
	Do    string
	Txs   []transaction // say, sayAndCut
	Which int           // the how manieth process, dead letter, or moment
	Flag  bool          // mended before it is retried; killed for real; shop or till
}

type transaction struct {
	Back  bool // it rolls back
	Words []word
}

// word is a message to say, and how it fails at each subscriber.
type word struct {
	Kind        string
	Key         int
	Store, Late failing
}

// failing is how often a handler fails, and how. For ever is -1.
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

func (w word) String() string {
	return fmt.Sprintf("%s %s (store %s, late %s)", w.Kind, keys[w.Key], w.Store, w.Late)
}

func (s step) String() string {
	var txs []string
	for _, tx := range s.Txs {
		txs = append(txs, fmt.Sprintf("{back %v: %v}", tx.Back, tx.Words))
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
	if f.Way == "contention" && f.Times < 0 { // it is retried at once, more often than that
		f.Times = 3
	}
	return f
})

// aTransaction says something about two keys that are no other transaction's of
// its step: so the model knows the order of what commits at the same time.
func aTransaction(place int) *rapid.Generator[transaction] {
	return rapid.Custom(func(t *rapid.T) transaction {
		// Events of the till are said by another module, in a transaction of its own.
		kinds := rapid.SampledFrom([][]string{{"paid", "paid", "noted", "pack"}, {"paid", "noted"}, {"rung"}}).Draw(t, "kinds")
		words := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) word {
			return word{rapid.SampledFrom(kinds).Draw(t, "kind"), (place + 3*rapid.IntRange(0, 1).Draw(t, "key")) % len(keys), failings.Draw(t, "store"), failings.Draw(t, "late")}
		}), 1, 5).Draw(t, "words")
		return transaction{rapid.IntRange(0, 4).Draw(t, "back") == 0, words}
	})
}

var steps = rapid.Custom(func(t *rapid.T) step {
	s := step{Do: rapid.SampledFrom([]string{
		"say", "say", "say", "say", "say", "say", "say",
		"sayAndCut", "cut", "cut", "kill", "hang", "begin", "end",
		"retry", "retry", "retry", "discard", "discard",
		"late", "addType", "repeat", "repeat", "settle",
	}).Draw(t, "do")}
	switch s.Do {
	case "say", "sayAndCut":
		for place := range rapid.IntRange(1, 3).Draw(t, "transactions") {
			s.Txs = append(s.Txs, aTransaction(place).Draw(t, "tx"))
		}
	default:
		s.Which, s.Flag = rapid.IntRange(0, 5).Draw(t, "which"), rapid.Bool().Draw(t, "flag")
	}
	return s
})

var programs = rapid.SliceOfN(steps, 4, 24)
