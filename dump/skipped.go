package dump

import "sync/atomic"

// skipped are paths that a source of folders leaves out. They may be set while it dumps: a job that is added at run time brings
// files along that others must leave alone.
type skipped struct{ paths atomic.Pointer[[]string] }

func (s *skipped) set(paths []string) { s.paths.Store(&paths) }

func (s *skipped) get() []string {
	if paths := s.paths.Load(); paths != nil {
		return *paths
	}
	return nil
}
