package repo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// answerKey is the key of the known answers: scrypt of a password with N=16, r=1, p=1 and the salt 00 01 … 3f.
func answerKey(t testing.TB) *masterKey {
	t.Helper()
	salt := make([]byte, saltSize)
	for i := range salt {
		salt[i] = byte(i)
	}
	k, err := KDF{16, 1, 1}.derive([]byte("pässword"), salt)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The answers were computed with two independent implementations (restic-format: known-answer tests).
const (
	answerText   = `{"mac":{"k":"","r":""},"encrypt":"",":-)"}`
	answerSealed = "000102030405060708090a0b0c0d0eff" +
		"2cf0c16ed29d216a889e42c0e096b93542b84a46b676f0026f2e0b408c2d0885c316a8dee58183ee1a85" +
		"bceb185fa8ca71073201c13f880f9bdc"
	answerEmpty = "000102030405060708090a0b0c0d0eff" + "0fa606d0c26b97d6db07e8a147d5c877"
)

func TestKnownAnswers(t *testing.T) {
	k := answerKey(t)
	for _, c := range []struct{ name, got, want string }{
		{"E", hex.EncodeToString(k.raw.encrypt[:]), "121679b46facc3b7f6843b065fad104219b1b19494027b5f934dab1e1edf519a"},
		{"k", hex.EncodeToString(k.raw.macK[:]), "05c706aef739a5a008feed10ddb8ede5"},
		{"r", hex.EncodeToString(k.raw.macR[:]), "1c8f03ffcaa947bc8c3f7e41c51319a2"},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s, want %s", c.name, c.got, c.want)
		}
	}
	iv := [16]byte(unhex(t, "000102030405060708090a0b0c0d0eff"))
	if got := hex.EncodeToString(k.sealWith(&iv, nil, []byte(answerText))); got != answerSealed {
		t.Errorf("sealed = %s, want %s", got, answerSealed)
	}
	if got := hex.EncodeToString(k.sealWith(&iv, nil, nil)); got != answerEmpty {
		t.Errorf("sealed nothing = %s, want %s", got, answerEmpty)
	}
	for sealed, want := range map[string]string{answerSealed: answerText, answerEmpty: ""} {
		if got, err := k.open(nil, unhex(t, sealed)); err != nil || string(got) != want {
			t.Errorf("open = %q, %v; want %q", got, err, want)
		}
	}
}

// TestClampedKey opens with a key whose r is stored clamped, as restic 0.14 does: it is the same key.
func TestClampedKey(t *testing.T) {
	raw := answerKey(t).raw
	raw.macR = [16]byte(unhex(t, "1c8f030fc8a9470c8c3f7e01c4131902"))
	k, err := newMasterKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.open(nil, unhex(t, answerSealed)); err != nil || string(got) != answerText {
		t.Errorf("open = %q, %v", got, err)
	}
}

// TestCounterCarry seals under an IV whose counter overflows into its upper half at once.
func TestCounterCarry(t *testing.T) {
	k := answerKey(t)
	iv := [16]byte(bytes.Repeat([]byte{0xff}, 16))
	plain := make([]byte, 100)
	sealed := k.sealWith(&iv, nil, plain)
	var zero [16]byte
	k.data.Encrypt(zero[:], zero[:]) // the second block is that of counter 0
	if !bytes.Equal(sealed[ivSize+16:ivSize+32], zero[:]) {
		t.Error("the counter does not carry through all 128 bits")
	}
}

func TestSeal(t *testing.T) {
	k := answerKey(t)
	for _, n := range []int{0, 1, 15, 16, 17, 1000} {
		plain := bytes.Repeat([]byte{7}, n)
		a, b := k.seal(nil, plain), k.seal(nil, plain)
		if len(a) != n+overhead || bytes.Equal(a, b) {
			t.Fatalf("%d bytes: sealed to %d; twice the same: %v", n, len(a), bytes.Equal(a, b))
		}
		got, err := k.open([]byte("before"), a)
		if err != nil || string(got[:6]) != "before" || !bytes.Equal(got[6:], plain) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestSealInPlace(t *testing.T) {
	k := answerKey(t)
	plain := make([]byte, 1<<20)
	buf := make([]byte, 10, 10+len(plain)+overhead)
	out := k.seal(buf, plain)
	if &out[0] != &buf[0] || cap(out) != cap(buf) {
		t.Error("seal did not write in place")
	}
	allocs := testing.AllocsPerRun(10, func() { k.seal(buf, plain) })
	if allocs > 3 { // the cipher stream
		t.Errorf("seal allocates %v times", allocs)
	}
}

// TestOpenDamaged flips every bit, and cuts at every length: nothing opens.
func TestOpenDamaged(t *testing.T) {
	k := answerKey(t)
	sealed := k.seal(nil, []byte("some bytes"))
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if got, err := k.open(nil, bad); !errors.Is(err, ErrDamaged) || len(got) > 0 {
			t.Fatalf("bit %d flipped: %q, %v", i, got, err)
		}
	}
	for n := range len(sealed) {
		if got, err := k.open(nil, sealed[:n]); !errors.Is(err, ErrDamaged) || len(got) > 0 {
			t.Fatalf("cut to %d bytes: %q, %v", n, got, err)
		}
	}
	zero := make([]byte, ivSize) // as restic, we refuse an IV of zeros even if all else fits
	if _, err := k.open(nil, k.sealWith((*[16]byte)(zero), nil, []byte("text"))); !errors.Is(err, ErrDamaged) {
		t.Errorf("IV of zeros: %v", err)
	}
}

func TestZeroKey(t *testing.T) {
	full := answerKey(t).raw
	for i, raw := range []rawKey{
		{macK: full.macK, macR: full.macR},
		{encrypt: full.encrypt, macR: full.macR},
		{encrypt: full.encrypt, macK: full.macK},
	} {
		if _, err := newMasterKey(raw); err == nil {
			t.Errorf("key %d with a part of zeros was accepted", i)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	k := answerKey(b)
	plain := make([]byte, 1<<20)
	dst := make([]byte, 0, len(plain)+overhead)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		k.seal(dst, plain)
	}
}

func BenchmarkOpen(b *testing.B) {
	k := answerKey(b)
	sealed := k.seal(nil, make([]byte, 1<<20))
	dst := make([]byte, 0, len(sealed))
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.open(dst, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
