package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// region is where customers live: names and places that belong together.
type region struct {
	country                      string
	first, last, cities, streets []string
}

var place = []region{
	{"FR", words("Chloé Léa Hélène Zoé Jérôme François Noël Anaïs Benoît Gaëlle"), words("Dubois Lefèvre Müller-Petit Châtelain Garçon Brûlé"), words("Orléans Besançon Nîmes Angoulême Évreux"), words("rue·Pasteur allée·des·Érables quai·de·Saône")},
	{"DE", words("Jürgen Käthe Björn Sören Änne Lukas Mia Günther"), words("Müller Weiß Schröder Jäger Größ Köhler"), words("Köln München Düsseldorf Würzburg Görlitz"), words("Bäckerstraße Am·Mühlgraben Königsallee")},
	{"PL", words("Łukasz Zofia Grażyna Michał Żaneta Paweł"), words("Wiśniewski Dąbrowska Kozłowski Zając Wójcik"), words("Łódź Kraków Gdańsk Wrocław Rzeszów"), words("ul.·Długa ul.·Świętojańska al.·Róż")},
	{"GR", words("Ελένη Γιώργος Μαρία Νίκος Κατερίνα"), words("Παπαδόπουλος Οικονόμου Δημητρίου Βασιλείου"), words("Αθήνα Θεσσαλονίκη Πάτρα Ηράκλειο"), words("οδός·Ερμού λεωφόρος·Αλεξάνδρας")},
	{"JP", words("さくら 陽菜 蓮 大翔 美咲 健太"), words("佐藤 鈴木 高橋 田中 渡辺 伊藤"), words("東京 大阪 札幌 福岡 京都"), words("本町 中央通り 桜丘")},
	{"IE", words("Siobhán Seán Aoife Pádraig Niamh Órla"), words("O'Brien Ó·Súilleabháin Murphy Nic·Gearailt"), words("Dublin Corcaigh Gaillimh Sligeach"), words("Main·Street Bóthar·na·Trá Quay·Road")},
}

var (
	materials = words("Oak Walnut Birch Linen Wool Cotton Felt Ceramic Porcelain Brass Copper Steel Glass Cork Leather")
	things    = words("Teapot Crème-brûlée·Dish Lampshade Cushion Footstool Salad·Bowl Bread·Board Coat·Hook Candle·Holder Vase Tray Blanket Doorstop Notebook Smörgås·Plate")
	editions  = words("No.·1 No.·2 No.·5 Petite Grande Café Nº·7 Näkki Sørlandet Plus")
	phrases   = []string{
		"made by hand in a small workshop", "keeps its shape for years", "goes with everything that you have already",
		"a present for people who have it all", "from wood that was felled within sight of the bench",
		"washes at 30 °C", "each piece differs a little", "weighs next to nothing", "as found in good cafés",
		"ships flat, assembled without tools", "with a ten-year guarantee", "oiled twice, then left alone",
	}
)

// words splits at spaces; a middle dot stands for a space within a word.
func words(s string) []string {
	list := strings.Fields(s)
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], "·", " ")
	}
	return list
}

func pick(rng *rand.Rand, list []string) string { return list[rng.IntN(len(list))] }

// describe writes a product's description: two to six sentences.
func describe(rng *rand.Rand, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s.", name, pick(rng, phrases))
	for range 1 + rng.IntN(5) {
		p := pick(rng, phrases)
		fmt.Fprintf(&b, " %s%s.", strings.ToUpper(p[:1]), p[1:])
	}
	return b.String()
}
