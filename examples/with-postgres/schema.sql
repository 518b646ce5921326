CREATE TABLE stock (item text PRIMARY KEY, amount integer NOT NULL CHECK (amount >= 0));
INSERT INTO stock VALUES ('apples', 40), ('pears', 2);
