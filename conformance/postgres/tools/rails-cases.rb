# Active Record, unmodified: what Rails asks when it starts, dumps a schema and works. Runs one case against the
# server the environment names and prints what came out, a line a fact. Without a case: version and names.
require "active_record"

def connect
  ActiveRecord::Base.establish_connection(
    adapter: "postgresql", host: ENV["PGHOST"], hostaddr: ENV["PGHOSTADDR"], port: ENV["PGPORT"],
    username: ENV["PGUSER"], password: ENV["PGPASSWORD"], database: ENV["PGDATABASE"],
    sslmode: ENV["PGSSLMODE"], sslrootcert: ENV["PGSSLROOTCERT"], application_name: "rails"
  )
  ActiveRecord::Base.connection
end

class Item < ActiveRecord::Base; end
class Entry < ActiveRecord::Base; self.table_name = "ledger"; end
class Child < ActiveRecord::Base
  self.table_name = "child"
  belongs_to :thing, class_name: "Item", foreign_key: "item", optional: true
end

CASES = {
  "tables, views, columns, keys and indexes" => lambda do |c|
    puts c.database_version / 10_000 >= 15, c.tables.sort, c.views.sort
    %w[items ledger many child].each do |table|
      c.columns(table).each { |one| puts [table, one.name, one.sql_type, one.null, one.default].inspect }
      puts c.primary_key(table).inspect
      c.indexes(table).each { |one| puts [one.name, one.columns, one.unique, one.using].inspect }
      c.foreign_keys(table).each { |one| puts [one.to_table, one.column, one.primary_key].inspect }
      c.check_constraints(table).each { |one| puts [one.name, one.expression].inspect }
      puts c.table_comment(table).inspect
    end
  end,
  "a schema dump" => lambda do |c|
    require "stringio"
    dump = StringIO.new
    ActiveRecord::SchemaDumper.dump(c, dump)
    puts dump.string
  end,
  "extensions, types, encoding" => lambda do |c|
    puts c.extensions.sort.inspect, c.encoding, c.collation, c.ctype, c.current_schema, c.schema_names.sort
    puts c.enum_types.inspect if c.respond_to?(:enum_types)
    puts c.select_value("show application_name"), c.client_min_messages
  end,
  "find, where, order, joins, pluck, batches" => lambda do |c|
    puts Item.find(3).name, Item.where(price: 1..5).order(:id).pluck(:id, :name, :tags, :doc).inspect
    puts Item.select(:id, :made).find_each(batch_size: 7).map { |one| [one.id, one.made.utc.to_s] }.inspect
    puts Child.joins(:thing).where("price > ?", 1).to_a.inspect, Item.where(id: [1, 2, 3]).sum(:price)
    puts Item.exists?(name: "item 4"), Item.count, Item.group(:price).having("count(*) > 1").count.inspect
  end,
  "create, update, upsert in transactions with savepoints" => lambda do |c|
    Entry.transaction do
      entry = Entry.create!(id: 7000, amount: 1)
      entry.update!(amount: 2)
      Entry.transaction(requires_new: true) do
        Entry.create!(id: 7001, amount: 3)
        raise ActiveRecord::Rollback
      end
      puts Entry.where("id >= 7000").order(:id).pluck(:id, :amount).inspect
      puts Entry.upsert_all([{ id: 7000, amount: 9 }], unique_by: :id).to_a.inspect
      puts entry.reload.amount
      # Deletes wait for somebody who approves, under the policies as shipped.
      raise ActiveRecord::Rollback
    end
    puts Entry.where("id >= 7000").count
    begin
      Entry.insert!({ id: 7100, amount: nil })
    rescue ActiveRecord::NotNullViolation => error
      puts error.class
    end
  end,
  "explain, locks, prepared statements of one pool" => lambda do |c|
    # Of a classified column a plan would tell.
    puts Entry.where(id: 1).explain.lines.first
    Item.transaction { puts Item.lock.find(2).name }
    5.times { |n| puts Item.find_by(id: n)&.name.inspect }
    c.clear_cache!
    c.reset!
    puts Item.find_by(id: 6).name
    c.reconnect!
    puts c.active?, Item.find_by(id: 6).name
  end
}.freeze

if ARGV.empty?
  puts ActiveRecord::VERSION::STRING, CASES.keys
else
  ActiveRecord::Base.logger = nil
  CASES.fetch(ARGV.first).call(connect)
end
