// Package pgtest gives each test a database of its own on a real PostgreSQL.
package pgtest
