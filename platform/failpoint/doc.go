// Package failpoint names the steps at which a process may die.
//
// Here does nothing, and compiles to nothing, unless the program was built with
// -tags chaos. Then the environment variable FAILPOINT arms one point:
//
//	FAILPOINT=run.before_commit          SIGKILL at the first passage
//	FAILPOINT=run.before_commit:20       at the twentieth
//	FAILPOINT=run.before_commit:20:stop  SIGSTOP, and on after SIGCONT
//
// The process ends, or stops, before Here returns: nothing is flushed, no defer
// runs. Names are literals of the form step.moment, so that test/chaos finds
// them in the source: it kills the program at every one, and is red for a name
// that it never reached. A new step of a message's way is a new call of Here,
// and no other change.
package failpoint
