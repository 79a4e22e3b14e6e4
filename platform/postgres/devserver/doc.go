// Package devserver runs a real PostgreSQL as a child process, so that developers need
// no setup. It is not for production: all databases share one server, on this machine,
// without TLS.
//
// # Programs
//
// The package prefers an installed PostgreSQL: in PATH, in a distribution's versioned
// folders, or from Homebrew, MacPorts, Postgres.app or the installers. A data folder of
// version 15 needs version 15, even if 17 is installed. Otherwise it downloads an archive
// of io.zonky.test.postgres from Maven Central once (10 to 60 MB), checks its SHA-256,
// and keeps it in the data folder. (github.com/fergusstrange/embedded-postgres uses the
// same archives, but it cannot fetch them without starting a server, refuses to run as
// root, deletes a data folder of another version without a warning, continues without a
// checksum, and does not support contexts. So download.go has its own hundred lines.)
//
// # Data
//
// One process at a time uses Config.DataDir; the error of a second start names the
// process that uses it. The folder contains the cluster, the server's log of this run
// and the one before (server.log, server.log.old), its password, its access rules
// (pg_hba.conf), the folder of its socket and, if any, the downloads. To start with
// empty data, stop the program and delete the folder; this package never deletes it. A
// cluster of another major version is refused and not changed.
//
// Committed data survives a crash of the program and, unless Config.NoSync is set, of
// the machine.
//
// # No orphans
//
// The server ends with the program, even if the program is killed: on Linux the kernel
// signals it, on other Unix systems a small watchdog process does, and on Windows a job
// object ends it. The next start waits until the old server has ended, shuts it down if
// necessary, and recovers from any state that it left.
//
// # Root
//
// PostgreSQL refuses to run as root. If this program runs as root, the server runs as
// the owner of the cluster, or else of the data folder. New files there belong to that
// user, who can later start the server without root. In root's own folder the server
// runs as the user "nobody" (65534 if there is none), who then owns the cluster. initdb
// requires that its user has an entry in the user database (/etc/passwd); only root can
// create a cluster for an owner without an entry. The server's user must be allowed to
// enter every folder above the data; otherwise the error names the folder, and the
// setting that moves the data.
//
// Root trusts the folders above the data folder, but nothing in another user's folder:
// it follows no link there, writes into no existing file, and gives away no file with a
// second hard link (files.go). For the same reason, a cluster in root's folder may not
// be a symbolic link.
//
// # Address
//
// The server listens on a Unix socket in the data folder, which other users cannot
// reach. On Windows, if the path is too long for a socket (103 bytes), or on request, it
// listens on a free port of 127.0.0.1. Every connection needs a password. The
// superuser's is in DataDir/password, which only the folder's owner may read; a cluster
// of an older version gets one at the next start. PostgreSQL's programs get only a few
// of our environment variables, and none with secrets.
//
// Not prevented: another process of the server's user can change the cluster's files.
//
// A first start takes about a second, most of it initdb; later ones 0.05 to 0.3 s.
package devserver
