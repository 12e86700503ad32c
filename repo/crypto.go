package repo

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	//lint:ignore SA1019 the format asks for Poly1305-AES with a fresh one-time key per nonce, which no newer package offers
	"golang.org/x/crypto/poly1305"
)

const (
	ivSize  = aes.BlockSize
	macSize = poly1305.TagSize
)

// overhead is what sealing adds: 16 bytes of IV before the ciphertext and 16 bytes of MAC behind it.
const overhead = ivSize + macSize

// masterKey is the key of everything in a repository (restic-format: authenticated encryption): AES-256-CTR with
// Poly1305-AES over the ciphertext. Safe for use by many goroutines at once.
type masterKey struct {
	raw   rawKey
	data  cipher.Block // AES-256 under raw.encrypt
	nonce cipher.Block // AES-128 under raw.macK: turns an IV into the second half of Poly1305's key
}

// rawKey holds the three secrets as a key file stores them.
type rawKey struct {
	encrypt [32]byte
	macK    [16]byte
	macR    [16]byte // clamped or not: Poly1305 clamps when it uses it, so two of them must never be compared
}

// newMasterKey prepares the secrets for use. A part that is all zero is an error, as for restic: it is a key that was
// never filled.
func newMasterKey(raw rawKey) (*masterKey, error) {
	if raw.encrypt == [32]byte{} || raw.macK == [16]byte{} || raw.macR == [16]byte{} {
		return nil, errors.New("a part of the key is all zero")
	}
	data, err := aes.NewCipher(raw.encrypt[:])
	if err != nil {
		return nil, err
	}
	nonce, err := aes.NewCipher(raw.macK[:])
	if err != nil {
		return nil, err
	}
	return &masterKey{raw: raw, data: data, nonce: nonce}, nil
}

// randomMasterKey makes the key of a new repository.
func randomMasterKey() (*masterKey, error) {
	var raw rawKey
	rand.Read(raw.encrypt[:]) // never fails, says crypto/rand
	rand.Read(raw.macK[:])
	rand.Read(raw.macR[:])
	return newMasterKey(raw)
}

// seal appends IV || ciphertext || MAC of plaintext to dst; it writes in place when dst has len(plaintext)+overhead
// bytes of spare capacity. plaintext must not overlap that capacity.
func (k *masterKey) seal(dst, plaintext []byte) []byte {
	var iv [ivSize]byte
	for iv == [ivSize]byte{} { // restic refuses an IV of zeros
		rand.Read(iv[:])
	}
	return k.sealWith(&iv, dst, plaintext)
}

// sealWith is seal with a given IV, which must never be used twice under one key.
func (k *masterKey) sealWith(iv *[ivSize]byte, dst, plaintext []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, len(plaintext)+overhead)[:start+len(plaintext)+overhead]
	out := dst[start:]
	copy(out, iv[:])
	text := out[ivSize : ivSize+len(plaintext)]
	cipher.NewCTR(k.data, iv[:]).XORKeyStream(text, plaintext)

	var mac [macSize]byte
	key := k.macKey(iv)
	poly1305.Sum(&mac, text, &key)
	copy(out[ivSize+len(plaintext):], mac[:])
	return dst
}

// open verifies the MAC in constant time and then appends the plaintext to dst. A wrong MAC is ErrDamaged.
// sealed is not changed; dst's spare capacity must not overlap it.
func (k *masterKey) open(dst, sealed []byte) ([]byte, error) {
	if len(sealed) < overhead {
		return dst, fmt.Errorf("%w: %d bytes are too short for anything encrypted", ErrDamaged, len(sealed))
	}
	iv := [ivSize]byte(sealed)
	text := sealed[ivSize : len(sealed)-macSize]
	mac := [macSize]byte(sealed[len(sealed)-macSize:])
	key := k.macKey(&iv)
	if iv == [ivSize]byte{} || !poly1305.Verify(&mac, text, &key) {
		return dst, fmt.Errorf("%w: wrong MAC: the bytes were changed, or belong to another key", ErrDamaged)
	}
	start := len(dst)
	dst = slices.Grow(dst, len(text))[:start+len(text)]
	cipher.NewCTR(k.data, iv[:]).XORKeyStream(dst[start:], text)
	return dst, nil
}

// macKey is the one-time Poly1305 key that belongs to an IV.
func (k *masterKey) macKey(iv *[ivSize]byte) (key [32]byte) {
	copy(key[:16], k.raw.macR[:])
	k.nonce.Encrypt(key[16:], iv[:])
	return key
}
