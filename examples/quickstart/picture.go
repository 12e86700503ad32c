package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
)

// drawPicture makes a product's picture: a lit ball on a coloured ground with a photograph's grain, so that it takes
// the room that a photograph takes.
func drawPicture(rng *rand.Rand, pixels int) ([]byte, error) {
	img := image.NewRGBA(image.Rect(0, 0, pixels, pixels))
	ground, ball := randomColor(rng), randomColor(rng)
	cx, cy, r := pixels/3+rng.IntN(pixels/3+1), pixels/3+rng.IntN(pixels/3+1), pixels/5+rng.IntN(pixels/6+1)
	for y := range pixels {
		for x := range pixels {
			c, light := ground, 60+120*y/pixels
			if dx, dy := x-cx, y-cy; dx*dx+dy*dy < r*r {
				c, light = ball, 200-100*(dx+dy+2*r)/(4*r)
			}
			light += int(rng.Uint32()&31) - 16
			img.SetRGBA(x, y, color.RGBA{shade(c.R, light), shade(c.G, light), shade(c.B, light), 255})
		}
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 86})
	return b.Bytes(), err
}

func randomColor(rng *rand.Rand) color.RGBA {
	return color.RGBA{uint8(60 + rng.IntN(190)), uint8(60 + rng.IntN(190)), uint8(60 + rng.IntN(190)), 255}
}

func shade(v uint8, light int) uint8 { return uint8(min(255, max(0, int(v)*light/128))) }
