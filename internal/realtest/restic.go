package realtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Restic runs the real restic on the repository at repoDir and returns its standard output. An exit status that is not
// zero fails the test. No cache is used.
func Restic(t testing.TB, repoDir, password string, args ...string) string {
	t.Helper()
	out, err := TryRestic(t, repoDir, password, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryRestic is Restic for a test that expects an error; its text holds restic's messages.
func TryRestic(t testing.TB, repoDir, password string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Need(t, "restic"), append([]string{"--no-cache"}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "TMPDIR=" + os.TempDir(),
		"RESTIC_REPOSITORY=" + repoDir, "RESTIC_PASSWORD=" + password,
	}
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("restic %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(e.String()))
	}
	return o.String(), err
}

// ExitCode is the exit status in an error of TryRestic, 0 for nil, -1 when there is none in it.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
