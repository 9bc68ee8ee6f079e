// Reads the file that `emcache follow` keeps: go run . caches/users.db 18
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "modernc.org/sqlite"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go run . FILE AGE")
	}
	// mode=ro: a reader must not write. Open the file anew from time to time: after a changed shape or a reset the
	// name leads to another file.
	database, err := sql.Open("sqlite", "file:"+os.Args[1]+"?mode=ro")
	if err != nil {
		log.Fatal(err)
	}
	defer database.Close()
	rows, err := database.Query("SELECT id, email, age FROM users WHERE age >= ? ORDER BY id", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, email string
		var age int64
		if err := rows.Scan(&id, &email, &age); err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, email, age)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
}
