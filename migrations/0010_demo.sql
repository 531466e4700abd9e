-- Accounts that demo data made: theirs alone are the passwords that demo data may set anew.

alter table accounts add column demo boolean not null default false;
