package realtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDisk shows that a cut is one: what was fsynced is there afterwards, what was only written is not.
func TestDisk(t *testing.T) {
	d := NewDisk(t, 16)
	durable, lost := filepath.Join(d.Dir, "durable"), filepath.Join(d.Dir, "lost")
	write := func(path string) *os.File {
		f, err := os.Create(path)
		if err == nil {
			_, err = f.WriteString("x")
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f, dir := write(durable), must(os.Open(d.Dir))
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	f.Close()
	write(lost).Close()
	if err := d.Cut(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "late"), nil, 0o600); err == nil {
		t.Error("a file was made after the cut")
	}
	// A container that began before keeps the dark disk.
	container := exec.Command(Need(t, "unshare"), "--mount", "sh", "-c", "echo; cat >/dev/null")
	leave, begun := must(container.StdinPipe()), must(container.StdoutPipe())
	if err := container.Start(); err != nil {
		t.Fatal(err)
	}
	defer container.Wait()
	defer leave.Close()
	begun.Read(make([]byte, 1)) // when it has mounts of its own
	d.Restart(t)
	if err := os.WriteFile(filepath.Join(d.Dir, "next"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(durable); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := os.ReadFile(lost); err == nil && string(data) == "x" {
		t.Error("the cut is none")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
