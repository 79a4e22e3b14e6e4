// Package devserver runs a real PostgreSQL as a child process, for development.
package devserver
