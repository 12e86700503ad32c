package realtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// NoDisk begins the reason of tests that are skipped since this machine mounts nothing for them: they need root, and
// many containers have no loop devices. It is no failure where CI is set.
const NoDisk = "no disk of its own can be mounted here"

// Disk is an ext4 of a test's own, in a file, whose power can be cut.
type Disk struct {
	Dir   string // where it is mounted
	image string
}

// NewDisk makes and mounts an empty disk of some MiB. It is unmounted when the test ends, also when it is killed.
func NewDisk(t testing.TB, mib int64) *Disk {
	t.Helper()
	mkfs := Need(t, "mkfs.ext4")
	d := &Disk{Dir: filepath.Join(t.TempDir(), "disk"), image: filepath.Join(t.TempDir(), "image")}
	err := os.Mkdir(d.Dir, 0o755)
	if err == nil {
		err = os.WriteFile(d.image, nil, 0o600)
	}
	if err == nil {
		err = os.Truncate(d.image, mib<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", d.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if err := d.mount(); err != nil {
		noDisk(t, err)
	}
	unmountAtTheEnd(t, d.Dir)
	return d
}

// SmallDisk mounts a file system of some MiB in memory, which runs full soon. It is unmounted as a Disk is.
func SmallDisk(t testing.TB, mib int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		noDisk(t, err)
	}
	unmountAtTheEnd(t, dir)
	return dir
}

func noDisk(t testing.TB, err error) {
	t.Helper()
	Skip(t, fmt.Sprintf("%s (it needs root, and loop devices or tmpfs): %v", NoDisk, err))
}

// unmountAtTheEnd has dir unmounted when the test has ended, or when this process is gone without having come to that.
func unmountAtTheEnd(t testing.TB, dir string) {
	t.Helper()
	watch := exec.Command("sh", "-c", `cat >/dev/null; umount -l "$0" 2>/dev/null`, dir)
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, err := watch.StdinPipe()
	if err == nil {
		err = watch.Start()
	}
	if err != nil {
		syscall.Unmount(dir, syscall.MNT_DETACH)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
		alive.Close()
		watch.Wait()
	})
}

// unmount unmounts a folder. What is open there may be so for a moment longer than it seems: a process that another test is
// just starting has copies of our open files until it is another program.
func unmount(dir string) (err error) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = syscall.Unmount(dir, 0); !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

func (d *Disk) mount() error {
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.Dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

// Cut cuts the power, as it were: what was not durable at this moment is lost, and whatever is done from now on fails.
func (d *Disk) Cut() error {
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN; the journal is not written out either
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN: %w", errno)
	}
	return nil
}

// Restart brings the disk back as it is after a power cut: unmounted, repaired, mounted. Nobody may have a file on it open.
func (d *Disk) Restart(t testing.TB) {
	t.Helper()
	if err := unmount(d.Dir); err != nil {
		t.Fatal("unmount: ", err)
	}
	d.repair(t)
	if d.alive() {
		return
	}
	// A process that has mounts of its own, a container that began meanwhile, still has the dark disk, which came back. What the
	// image holds is what was durable: go on with a copy.
	if err := unmount(d.Dir); err != nil {
		t.Fatal("unmount: ", err)
	}
	dark := d.image
	d.image += "-again"
	if out, err := exec.Command("cp", "--sparse=always", dark, d.image).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	os.Remove(dark)
	if d.repair(t); !d.alive() {
		t.Fatal("the disk stays dark")
	}
}

// repair makes the image whole, and mounts it.
func (d *Disk) repair(t testing.TB) {
	t.Helper()
	out, err := exec.Command(Need(t, "e2fsck"), "-p", d.image).CombinedOutput()
	if ExitCode(err) > 1 || ExitCode(err) < 0 { // 1 is: errors were corrected
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	for range 300 {
		if err = d.mount(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond) // another test may have taken the last loop device meanwhile
	}
	t.Fatal(err)
}

// alive reports whether something can be written to the disk.
func (d *Disk) alive() bool {
	path := filepath.Join(d.Dir, "lost+found", "alive")
	return os.Mkdir(path, 0o700) == nil && os.Remove(path) == nil
}

// Fill takes all space that is left on the file system of a folder, to the last byte. It returns the file that has it.
func Fill(t testing.TB, dir string) (path string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return f.Name()
}
