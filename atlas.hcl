# For the Atlas CLI, its community build included. Manor itself does not read this file: it works on the same
# directories and keeps the same revision table, so that either can go on where the other stopped.

variable "url" {
  type        = string
  default     = ""
  description = "the database to work on, with ?search_path=<schema>; hash and validate need none"
}

variable "dev" {
  type        = string
  default     = ""
  description = "an empty database Atlas may try things in, with ?search_path=<schema> and citext in that schema"
}

# The sample application's tenant schema. After an edit of the directory, and as a check:
#
#   atlas migrate hash --env tenant
#   atlas migrate validate --env tenant
#
# Where one tenant is (the revision table lies in the tenant's schema):
#
#   atlas migrate status --env tenant --var "url=postgres://…/manor_shared_001?search_path=t_x"
#
# With search_path=t_x the session sees the tenant's schema only, and a file that names citext fails, since that lies in
# the schema `extensions`. Atlas takes a list in search_path for the name of one schema; hand the list over as an option:
#
#   atlas migrate apply --env tenant --revisions-schema t_x \
#     --var "url=postgres://…/manor_shared_001?options=-csearch_path%3Dt_x%2Cextensions"
env "tenant" {
  src = "file://schema/tenant.sql"
  url = var.url
  dev = var.dev
  migration {
    dir = "file://migrations/tenant"
  }
}

# Manor's own catalog. Its files are made from the ent schema by a program, because Atlas's open build has no ent://
# source; `manor catalog migrate` applies them.
#
#   atlas migrate validate --env catalog
#   atlas migrate status --env catalog --var "url=$MANOR_CATALOG"
env "catalog" {
  url = var.url
  dev = var.dev
  migration {
    dir = "file://migrations/catalog"
  }
}
