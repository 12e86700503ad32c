package repo

import (
	"strconv"
	"testing"
)

func TestIrreducible(t *testing.T) {
	for p, want := range map[polynomial]bool{
		0: false, 1: false,
		0b10: true, 0b11: true, // x, x+1
		0b101: false, 0b111: true, // x²+1 = (x+1)²
		0b1001: false, 0b1011: true, 0b1101: true, 0b1111: false,
		0b10011: true, 0b10101: false, 0b11001: true, 0b11111: true, // x⁴+x²+1 = (x²+x+1)²
		0x3da3358b4dc173: true, 0x3da3358b4dc175: false,
		1<<53 | 1: false, ^polynomial(0): false,
	} {
		if got := p.irreducible(); got != want {
			t.Errorf("%#x: irreducible = %v", uint64(p), got)
		}
	}
}

// TestIrreducibleSmall compares with trial division for every polynomial up to degree 10.
func TestIrreducibleSmall(t *testing.T) {
	for p := polynomial(2); p < 1<<11; p++ {
		prime := true
		for d := polynomial(2); d.degree() <= p.degree()/2; d++ {
			prime = prime && p.mod(d) != 0
		}
		if p.irreducible() != prime {
			t.Errorf("%#b: irreducible = %v", uint64(p), !prime)
		}
	}
}

func TestRandomPolynomial(t *testing.T) {
	seen := make(map[polynomial]bool)
	for range 20 {
		p := randomPolynomial()
		if p.degree() != 53 || p&1 == 0 || !p.irreducible() || seen[p] {
			t.Errorf("%s", strconv.FormatUint(uint64(p), 16))
		}
		seen[p] = true
	}
}
