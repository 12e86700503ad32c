package backup

import "context"

// ExamineSource looks at what a dump of a source would need, as Doctor does, for a source that need not be of any job yet.
func (s *Service) ExamineSource(ctx context.Context, source NamedSource) []Diagnosis {
	look := func(ctx context.Context) []Diagnosis { return s.examineSource(ctx, source) }
	return s.patiently(ctx, examined{"source " + source.Name, look})
}
