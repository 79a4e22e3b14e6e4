// Package admin is what the owner of the database does: create and upgrade the bus's
// tables, give each module's role exactly its rights, and move an installation from
// PostgreSQL to a bridge and back.
//
// Everything here may run while other processes serve, except Switch, and may be repeated:
// a run that was cut off is completed by the next one. Nothing here runs code that another
// role left in the database: see MigrateModules and Roles.Disarm.
package admin
