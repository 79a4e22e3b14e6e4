// Package devserver runs a real PostgreSQL as a child process, so that a
// developer needs to set up nothing. It is not for production: there is one
// superuser, and whoever may read the data folder may connect.
//
// # Programs
//
// The server is one that is installed, if any is: in PATH, in a distribution's
// versioned folders, by Homebrew, MacPorts, Postgres.app or the installers. A
// data folder of version 15 is served by an installed 15 even if there is a 17.
// Otherwise the archives of io.zonky.test.postgres are downloaded from Maven
// Central once (10 to 60 MB), checked against their SHA-256, and kept in the
// data folder. (github.com/fergusstrange/embedded-postgres uses the same
// archives. It can fetch them only by starting a server too, refuses to run as
// root, wipes a data folder of another version without a word, goes on without a
// checksum, and knows no context; so the hundred lines are in download.go.)
//
// # Data
//
// Config.DataDir belongs to one program at a time; a second start is told who
// has it. In it lie the cluster, the server's log of this run and the one before
// (server.log, server.log.old), the folder of its socket and, if any, the
// downloads. To begin again, stop the program and delete the folder: nothing here ever
// does. A cluster of another major version is refused and left as it is.
//
// Committed data survives the end of the program however it ends, and of the
// machine, unless Config.NoSync.
//
// # No orphans
//
// The server ends with the program, also if that is killed: on Linux the kernel
// tells it to shut down, on other Unix systems a small watchdog process does, on
// Windows a job object ends it. The next start waits until it has ended, asks it
// to if it must, and recovers from whatever state it finds.
//
// # Root
//
// PostgreSQL refuses to run as root. For root the server runs as the user
// "nobody" (65534 if there is none), to whom the cluster then belongs. Every folder
// on the way to the data must let that user through; the error names the one
// that does not, and the setting that moves the data.
//
// # Address
//
// The server listens on a Unix socket in the data folder, closed to other users,
// without a password. On Windows, if the path is too long for a socket (103
// bytes), or on request, it listens on a free port of 127.0.0.1, and the password
// is in DataDir/password.
//
// A first start takes about a second, most of it initdb; later ones 0.05 to 0.3 s.
package devserver
