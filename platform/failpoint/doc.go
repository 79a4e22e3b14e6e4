// Package failpoint names the steps at which tests kill a process.
//
// Here does nothing, and compiles to nothing, unless the program was built with
// -tags chaos. Then the environment variable FAILPOINT selects one point:
//
//	FAILPOINT=batch.before_commit          SIGKILL at the first call
//	FAILPOINT=batch.before_commit:20       at the twentieth call
//	FAILPOINT=batch.before_commit:20:stop  SIGSTOP, continues after SIGCONT
//
// The process dies or stops before Here returns: nothing is flushed, no defer
// runs. Names are literals of the form step.moment, so that test/chaos finds
// them in the source. It kills the program at each one, and fails for a name
// that it never reached. A new step needs one new call of Here and nothing
// else.
package failpoint
