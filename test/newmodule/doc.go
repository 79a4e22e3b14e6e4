// Package newmodule tests docs/adding-a-module.md. The packages below it are the
// document's examples: ordinary packages that the default tests compile and run.
//
// Under the tag slow a test adds the examples, and a module with nothing but a name,
// to a copy of the repository by the document's steps, and runs most of the default
// tests there.
package newmodule
