// Package readme checks the documents against the code:
//
//   - the README's message map and the source tree in docs/architecture.md match it;
//   - the table of promises in docs/watermill.md is the one that the last run wrote;
//   - test/README.md lists every suite and build tag;
//   - tests, files, make targets and versions that a document names exist.
//
// Package main checks the commands, with [Shell]; test/newmodule checks the examples.
package readme
