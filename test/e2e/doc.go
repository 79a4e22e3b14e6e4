// Package e2e runs the whole program, as a person would start it, and checks
// promises that no module keeps alone.
package e2e
