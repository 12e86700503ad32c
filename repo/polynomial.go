package repo

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// polynomial is a polynomial over GF(2): bit i is the coefficient of x^i (restic-format: chunker).
type polynomial uint64

// polynomialDegree is the degree of every repository's chunker polynomial.
const polynomialDegree = 53

// randomPolynomial chooses an irreducible polynomial of degree 53. About one in 27 odd ones is irreducible, so the loop
// is short.
func randomPolynomial() polynomial {
	for {
		var b [8]byte
		rand.Read(b[:])
		p := polynomial(binary.LittleEndian.Uint64(b[:]))
		p = p&(1<<polynomialDegree-1) | 1<<polynomialDegree | 1
		if p.irreducible() {
			return p
		}
	}
}

// degree is -1 for the zero polynomial.
func (p polynomial) degree() int { return bits.Len64(uint64(p)) - 1 }

// irreducible is Ben-Or's test: p of degree n has no factor exactly when it shares none with x^(2^i) - x, the product
// of all irreducible polynomials whose degree divides i, for i up to n/2.
func (p polynomial) irreducible() bool {
	n := p.degree()
	if n < 1 || n > 62 { // the arithmetic below needs a bit to spare
		return false
	}
	const x = polynomial(2)
	power := x.mod(p)
	for range n / 2 {
		power = power.mulMod(power, p)
		if p.gcd(power^x.mod(p)) != 1 {
			return false
		}
	}
	return true
}

// mod is the remainder of p divided by m.
func (p polynomial) mod(m polynomial) polynomial {
	for d := m.degree(); p.degree() >= d; {
		p ^= m << (p.degree() - d)
	}
	return p
}

// mulMod multiplies modulo m; p and q are reduced already.
func (p polynomial) mulMod(q, m polynomial) polynomial {
	var product polynomial
	for ; q != 0; q >>= 1 {
		if q&1 != 0 {
			product ^= p
		}
		p = (p << 1).mod(m)
	}
	return product
}

func (p polynomial) gcd(q polynomial) polynomial {
	for q != 0 {
		p, q = q, p.mod(q)
	}
	return p
}
