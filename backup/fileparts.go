package backup

import (
	"context"
	"fmt"
)

// FilePart is a part of a job that is a file, and what it is of.
type FilePart struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Kind   string `json:"kind"`
	Over   bool   `json:"over"` // it can be restored over the live one
}

// FileParts lists the parts of a job that are files, as its sources say now: as these a dump file can be restored.
func (s *Service) FileParts(ctx context.Context, job string) ([]FilePart, error) {
	_, _, j, err := s.jobVault(job)
	if err != nil {
		return nil, err
	}
	parts, err := fileParts(ctx, j)
	var list []FilePart
	for _, p := range parts {
		_, err := p.target()
		list = append(list, FilePart{p.Name, p.source.Name, p.source.Kind, err == nil})
	}
	return list, err
}

func fileParts(ctx context.Context, j Job) (list []sourcePart, err error) {
	for _, s := range j.Sources {
		parts, err := s.Parts(ctx, s.Name)
		if err != nil {
			return list, fmt.Errorf("source %s: %w", s.Name, err)
		}
		for _, p := range parts {
			if !p.Folder {
				list = append(list, sourcePart{p, s})
			}
		}
	}
	return list, nil
}
