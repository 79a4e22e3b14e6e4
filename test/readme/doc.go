// Package readme checks that the README tells the truth: its message map is the
// code's, its worked example compiles and passes its own test, the tests that it
// names exist, and its table of promises is the one that the last run wrote.
package readme
