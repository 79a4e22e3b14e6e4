package devserver

import (
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// job holds every server that this process started. The kernel ends them when the job's
// handle is closed, which happens when this process dies.
var job = sync.OnceValue(func() windows.Handle {
	made, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if _, err := windows.SetInformationJobObject(made, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits))); err != nil {
		return 0
	}
	return made
})

// attach puts the server into the job. If that fails and the program is killed, the next
// start on the folder ends the server.
func attach(p *os.Process) {
	handle, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err != nil {
		return
	}
	defer windows.CloseHandle(handle)                   //nolint:errcheck // the job keeps its own
	_ = windows.AssignProcessToJobObject(job(), handle) // see above
}

// serves reports whether the process is alive; Windows does not reuse process ids soon.
func serves(pid int, _ string) bool { return alive(pid) }
