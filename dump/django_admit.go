package dump

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Admit asks the project whether it has what a new job would save. A fixture must name its apps, unless all says that none means
// all of them.
func (d *Django) Admit(ctx context.Context, all bool) error {
	project, err := d.project(ctx, nil)
	if err != nil {
		return err
	}
	known := "apps with models are: " + strings.Join(project.Apps, ", ")
	switch {
	case len(project.Problems) > 0:
		return fmt.Errorf("%s: %s; %s", d.Manage, strings.TrimSuffix(strings.Join(project.Problems, "; "), "."), known)
	case len(project.Apps) == 0:
		return fmt.Errorf("%s: no app has models, so there is nothing to dump", d.Manage)
	case !d.native() && len(d.Apps) == 0 && !all:
		return errors.New("no app is named: name each (--app), or say that all are meant (--all-apps); " + known)
	}
	return nil
}
