// Package postgres opens and migrates databases.
package postgres
