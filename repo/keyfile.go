package repo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"path"
	"runtime"
	"slices"
	"time"

	"golang.org/x/crypto/scrypt"
)

const (
	saltSize   = 64
	maxKeyFile = 64 << 10 // bytes; some 500 are usual

	// maxKeyTries is how many key files are tried, as restic does: each costs a password hash.
	maxKeyTries = 20

	// The costs of a key file that we are willing to pay. Who can write into the storage could otherwise have us
	// compute for days, or run out of memory.
	maxKDFMemory = 256 << 20 // bytes, of 128*N*r
	maxKDFWork   = 1 << 24   // of N*r*p; restic's largest are near 1<<21
)

// manyBytes is what is worth a garbage collection of its own.
const manyBytes = 8 << 20

// KDF is the cost of scrypt for new key files: about 128*N*R bytes of memory, and time in proportion to N*R*P.
type KDF struct {
	N int // a power of two above 1
	R int
	P int
}

// defaultKDF takes 32 MiB and some 60 ms, like what restic settles on.
var defaultKDF = KDF{N: 1 << 15, R: 8, P: 1}

// validate refuses what scrypt cannot do and what nobody should pay.
func (c KDF) validate() error {
	if c.N < 2 || c.R < 1 || c.P < 1 || bits.OnesCount64(uint64(c.N)) != 1 {
		return fmt.Errorf("%w scrypt parameters N=%d r=%d p=%d", ErrUnsupported, c.N, c.R, c.P)
	}
	// Divisions, since the products may overflow.
	if c.N > maxKDFMemory/128/c.R || c.P > maxKDFWork/c.N/c.R {
		return fmt.Errorf("%w: scrypt parameters N=%d r=%d p=%d cost more than we dare to spend", ErrUnsupported, c.N, c.R, c.P)
	}
	return nil
}

// derive turns a password into the key that a key file is sealed with.
func (c KDF) derive(password, salt []byte) (*masterKey, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if err := checkSalt(salt); err != nil {
		return nil, err
	}
	b, err := scrypt.Key(password, salt, c.N, c.R, c.P, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: scrypt: %w", ErrUnsupported, err)
	}
	if 128*c.N*c.R > manyBytes {
		// scrypt's memory is garbage now, but would count when the collector sets its next goal: the process would grow to
		// twice as much before it gets any of it back.
		runtime.GC()
	}
	return newMasterKey(rawKey{encrypt: [32]byte(b), macK: [16]byte(b[32:]), macR: [16]byte(b[48:])})
}

// keyFile is a file of keys/: the master key, sealed with a password (restic-format: key files). Its field order is
// restic's.
type keyFile struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     []byte    `json:"salt"`
	Data     []byte    `json:"data"`
}

// masterJSON is what is sealed in keyFile.Data.
type masterJSON struct {
	MAC struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	} `json:"mac"`
	Encrypt []byte `json:"encrypt"`
}

// newKeyFile seals the master key with a password and gives the bytes of the file, whose hash is its name.
func newKeyFile(k *masterKey, password []byte, o Options) ([]byte, error) {
	var m masterJSON
	m.MAC.K, m.MAC.R, m.Encrypt = k.raw.macK[:], k.raw.macR[:], k.raw.encrypt[:]
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	user, err := o.KDF.derive(password, salt)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(keyFile{
		Created: o.Now().Round(0), Username: currentUser().Username, Hostname: o.Hostname,
		KDF: "scrypt", N: o.KDF.N, R: o.KDF.R, P: o.KDF.P, Salt: salt, Data: user.seal(nil, text),
	})
	if err != nil {
		return nil, err
	}
	// Prove that the password opens it before anything depends on it.
	back, err := openKeyFile(data, password)
	if err == nil && back.raw != k.raw {
		err = fmt.Errorf("%w: sealing changed the master key", ErrDamaged)
	}
	return data, err
}

// parseKeyFile reads the JSON of a key file. It refuses what no password could open, without computing anything.
func parseKeyFile(data []byte) (keyFile, error) {
	var f keyFile
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if f.KDF != "scrypt" {
		return f, fmt.Errorf("%w kind of key %q", ErrUnsupported, f.KDF)
	}
	if len(f.Data) <= overhead {
		return f, fmt.Errorf("%w: there is no master key in it", ErrDamaged)
	}
	if err := (KDF{f.N, f.R, f.P}).validate(); err != nil {
		return f, err
	}
	return f, checkSalt(f.Salt)
}

func checkSalt(salt []byte) error {
	if len(salt) != saltSize {
		return fmt.Errorf("%w: the salt has %d bytes instead of %d", ErrUnsupported, len(salt), saltSize)
	}
	return nil
}

// openKeyFile opens the bytes of a key file with a password. A password that does not fit is ErrWrongPassword; a file
// that no password could open is ErrDamaged or ErrUnsupported.
func openKeyFile(data, password []byte) (*masterKey, error) {
	f, err := parseKeyFile(data)
	if err != nil {
		return nil, err
	}
	user, err := KDF{f.N, f.R, f.P}.derive(password, f.Salt)
	if err != nil {
		return nil, err
	}
	text, err := user.open(nil, f.Data)
	if err != nil {
		return nil, ErrWrongPassword // or a flipped bit in the sealed part: that looks the same
	}
	var m masterJSON
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(m.MAC.K) != 16 || len(m.MAC.R) != 16 || len(m.Encrypt) != 32 {
		return nil, fmt.Errorf("%w: the master key in it has the wrong length", ErrDamaged)
	}
	k, err := newMasterKey(rawKey{encrypt: [32]byte(m.Encrypt), macK: [16]byte(m.MAC.K), macR: [16]byte(m.MAC.R)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return k, nil
}

// openedKey is a key file that a password opened, and what it leads to.
type openedKey struct {
	id     ID // of the file
	master *masterKey
	config Config
}

// findKey tries the key files until one opens with the password, and the config with it. Those that are excepted are not
// looked at; damaged and unusable ones are passed over, and named when none opens.
func findKey(ctx context.Context, st Storage, password, sealedConfig []byte, except ...ID) (openedKey, error) {
	files, err := listFiles(ctx, st, "keys")
	if err != nil {
		return openedKey{}, err
	}
	files = slices.DeleteFunc(files, func(f FileInfo) bool { return slices.Contains(except, keyID(f)) })
	var bad errorList   // files that could not be tried
	var unfit errorList // the password opened the key, but the key not the config
	tries := 0
	for _, f := range files {
		if tries == maxKeyTries {
			bad = append(bad, fmt.Errorf("only the first %d of %d key files were tried", tries, len(files)))
			break
		}
		key, err := readKey(ctx, st, f, password)
		if err == nil {
			config, err := openConfig(sealedConfig, key)
			if err == nil {
				return openedKey{keyID(f), key, config}, nil
			}
			unfit = append(unfit, err)
			continue
		}
		if ctx.Err() != nil {
			return openedKey{}, context.Cause(ctx)
		}
		if errors.Is(err, ErrWrongPassword) {
			tries++
			continue
		}
		bad = append(bad, fmt.Errorf("key file %s: %w", path.Base(f.Name), err))
	}
	return openedKey{}, noKeyError(len(files), tries, unfit, bad)
}

// keyID is the ID of a file that listFiles named, and which therefore has one.
func keyID(f FileInfo) ID {
	id, _ := ParseID(path.Base(f.Name))
	return id
}

// noKeyError says why none of n key files opened the repository.
func noKeyError(n, tries int, unfit, bad errorList) error {
	switch {
	case n == 0:
		return fmt.Errorf("%w: there is no key file, so no password can open it", ErrDamaged)
	case len(unfit) > 0:
		return fmt.Errorf("the password is right, but the configuration cannot be used: %w", unfit[0])
	case tries == 0:
		return fmt.Errorf("no key file can be used: %w", bad)
	case len(bad) > 0:
		return fmt.Errorf("%w: it opens none of %d key files; others could not be tried: %v", ErrWrongPassword, tries, bad)
	}
	return fmt.Errorf("%w: it opens none of the %d key files", ErrWrongPassword, n)
}

// readKey reads and opens one key file.
func readKey(ctx context.Context, st Storage, f FileInfo, password []byte) (*masterKey, error) {
	data, err := loadKeyFile(ctx, st, f)
	if err != nil {
		return nil, err
	}
	return openKeyFile(data, password)
}

// loadKeyFile reads a key file, whose content must fit its name.
func loadKeyFile(ctx context.Context, st Storage, f FileInfo) ([]byte, error) {
	if f.Size > maxKeyFile {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrDamaged, f.Size)
	}
	data, err := st.Get(ctx, f.Name, 0, -1)
	if err != nil {
		return nil, err
	}
	if Hash(data) != keyID(f) {
		return nil, fmt.Errorf("%w: its content does not fit its name", ErrDamaged)
	}
	return data, nil
}
