// Package roles tests that each module's database role has the rights that the
// module needs, and no others: on a real PostgreSQL, with the product's modules,
// signed in as users like those that an operator creates.
//
// The matrix test tries every kind of statement as every role on every table,
// sequence and function in the catalogue, so a table from a new migration fails the
// test until it is in the matrix. testdata/matrix.txt is the matrix; -update writes it.
package roles
