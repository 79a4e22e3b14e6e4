// Package program is what the suites of the whole program share: a database that is
// migrated already, and the compiled program.
package program
